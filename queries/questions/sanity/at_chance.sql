-- Which cells cannot be told from one class for all images?
--
-- Asked is the best validation metric over all values of the hyper-parameter, and the test metric. For top1, chance is
-- the share of the class that most images of the split have; for mean_per_class and balanced_accuracy, one over the
-- number of its classes. For other metrics, and where images can have several labels, chance is not known.
--
-- Why two standard errors: an accuracy that is at chance lies below that in 98 of 100 splits. Above it the features say
-- something: the scores of the demo, 0.70 to 0.98 where chance is 0.1, are at least 16 standard errors above it, those of
-- 1,400 photographs of Caltech-101 at least 77. Where so few images were scored that even all of them being right lies
-- within two standard errors, a cell is listed if it is not above chance at all; `small_splits` names such splits.
--
-- Grain: one row per cell and split, val or test.
-- Columns:
--   model  name
--   dataset  name
--   split  val or test
--   setting  fixed, finetuned or scratch
--   tap  layer that the features come from
--   probe  name
--   solver  name
--   n_per_class  training images per class; null: all
--   seed  of the cell
--   metric  name of the metric
--   value  its value, a fraction: of val, the best over the values tried
--   chance  its value where every image gets the class that most have
--   standard_error  of an accuracy at chance
--   n_images  that were scored
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   errors = 2  standard errors above chance, at most
-- Example: probestore query at_chance

with final as (
    select * from at_chance($dataset, $errors)
    order by dataset, model, split desc, setting, tap, probe, solver, n_per_class, seed
)

select * from final
