-- How does accuracy grow with the number of training images per class?
--
-- Every draw of a few-shot task is a seed; the full task is the row without n_per_class. Draws of one size share the
-- test images and overlap in their training images, so the standard error is that of the draws alone. Of several
-- solvers the one that ran last counts.
--
-- Grain: one row per dataset, setting, model and number of training images per class.
-- Columns:
--   dataset  name
--   setting  fixed, finetuned or scratch
--   model  name
--   n_per_class  training images per class; null: all
--   n_train  training images, the smallest number over the seeds; null where it is not known
--   metric  headline metric of the dataset
--   value  its mean over the seeds, a fraction
--   standard_error  of value, over the seeds; null with one seed
--   logit  mean over the seeds of the log-odds
--   logit_standard_error  of logit, over the seeds; null with one seed
--   n_seeds  draws counted
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
-- Example: probestore query few_shot_curves --format csv

with one_solver as (
    select distinct on (setting, model, dataset, n_per_class, seed) *
    from headline_results
    where probe = $probe and tap = $tap
    order by created_at desc, solver
),

final as (
    select
        dataset,
        setting,
        model,
        n_per_class,
        min(n_train) as n_train,
        any_value(metric) as metric,
        avg(value order by seed) as value,
        stddev_samp(value order by seed) / sqrt(count(*)) as standard_error,
        avg(logit(value, n_test) order by seed) as logit,
        stddev_samp(logit(value, n_test) order by seed) / sqrt(count(*)) as logit_standard_error,
        count(*) as n_seeds
    from one_solver
    group by dataset, setting, model, n_per_class
    order by dataset, setting, model, n_per_class nulls last
)

select * from final
