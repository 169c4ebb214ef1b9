-- How does accuracy grow with the number of training steps?
--
-- Every point is a run of its own, tuned for that many steps: not the course of one run. Of runs with several seeds,
-- the mean is shown.
--
-- Grain: one row per setting, model, dataset and number of training steps.
-- Columns:
--   setting  finetuned or scratch
--   model  name
--   dataset  name
--   train_steps  steps of the run
--   epochs  train_steps x batch / training and validation images; null where their number is not known
--   metric  headline metric of the dataset
--   value  the metric on the test split, a fraction
--   logit  its log-odds; 0 and 1 are moved inwards by half a test image
--   n_seeds  runs averaged
-- Parameters:
--   probe = 'logistic'  as the results name it
--   tap = 'penultimate'  layer that is trained up to
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   batch = 256  images per step
-- Example: probestore query training_curves --format csv

with final as (
    from training_points($probe, $tap, $n_per_class, $batch)
    order by setting, model, dataset, train_steps
)

select * from final
