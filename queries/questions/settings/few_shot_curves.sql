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

with final as (
    select * from few_shot($probe, $tap) order by dataset, setting, model, n_per_class nulls last
)

select * from final
