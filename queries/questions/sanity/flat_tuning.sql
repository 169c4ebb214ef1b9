-- Which cells found the same validation metric for every value of the hyper-parameter?
--
-- Where every value is right for all images, or for none, validation does not tell the values apart: the choice then
-- rests on how ties are broken.
--
-- Why all values: of the 60 tuned cells of the demo and the 24 of 1,400 photographs of Caltech-101, whose grids have 4 to
-- 49 values, all vary by one validation image at least. Why three values: two may well agree by chance.
--
-- Grain: one row per cell.
-- Columns:
--   model  name
--   dataset  name
--   setting  fixed, finetuned or scratch
--   tap  layer that the features come from
--   probe  name
--   solver  name
--   n_per_class  training images per class; null: all
--   seed  of the cell
--   hyperparameter  name of what was tuned
--   n_values  values tried
--   metric  name of the metric
--   validation  the metric on the validation split, the same for all of them, a fraction
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   n_values = 3  at least so many were tried
-- Example: probestore query flat_tuning

with final as (
    select * from flat_tuning($dataset, $n_values)
    order by dataset, model, setting, tap, probe, solver, n_per_class, seed
)

select * from final
