-- Where is the test metric far above or below the validation metric?
--
-- The two are of the same probe at the same value of its hyper-parameter, before and after the refit with the validation
-- images. They drift apart where validation images are also training images, where test images come from elsewhere, or
-- where labels of a split are wrong. The standard error is that of the difference of two shares that are equal; where the
-- metric's own error on the test images is larger, it counts for both.
--
-- Why both four standard errors and 0.1: of the 60 tuned cells of the demo, with 72 validation images, the largest
-- difference is 0.118 and 3.1 standard errors; of the 24 of 1,400 photographs of Caltech-101, with 140 validation images,
-- 0.071 and 2.0. Validation is the best of many values, and the refit has a quarter more images, so that a small
-- difference is no fault however many images show it.
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
--   metric  name of the metric
--   validation  the metric on the validation split at the chosen value, a fraction
--   test  the metric on the test split, a fraction
--   difference  test less validation
--   standard_errors  difference in its standard errors
--   n_val  validation images
--   n_test  test images
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   errors = 4  standard errors, at least, and
--   difference = 0.1::DOUBLE  at least, in either direction
-- Example: probestore query validation_gap

with final as (
    select * from validation_gap($dataset, $errors, $difference)
    order by abs(standard_errors) desc, dataset, model, setting, tap, probe, solver, n_per_class, seed
)

select * from final
