-- What is the score of each model on each dataset?
--
-- These are the scores that all comparisons are made from (macro `scores` in shared/macros.sql): seeds are averaged,
-- and of several solvers the one that ran last counts. `accuracy_grid` has a row for each seed and solver.
--
-- Grain: one row per model and dataset of the slice asked for.
-- Columns:
--   model  name
--   dataset  name
--   metric  headline metric of the dataset
--   value  mean of the metric over seeds, a fraction
--   standard_error  of one seed's value, from the test images alone; null where it is not known
--   logit  mean log-odds of the metric over seeds
--   n_test  test images
--   n_seeds  seeds averaged
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query scores_by_dataset --format markdown

with final as (
    select model, dataset, metric, value, standard_error, logit, n_test, n_seeds
    from scores($setting, $probe, $tap, $n_per_class)
    order by dataset, value desc, model
)

select * from final
