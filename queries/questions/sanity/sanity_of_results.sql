-- What should one know before one believes the numbers, as far as no image has to be looked at?
--
-- The rows of `sanity` without the checks that read the table `samples`, which has many files: at_chance,
-- conflicting_labels, leaks, missing_classes, repeated_images, turned_images and unreadable_by_class. A run that computed
-- no features asks this where there are more than 200 such files.
--
-- Grain: one row per finding, warnings first.
-- Columns:
--   question  the check: a question that shows the rows
--   severity  warning or remark
--   model  name; null where it is not about one model
--   dataset  name; null where it is not about one dataset
--   split  train, val or test; null where it is not about one split
--   finding  what was measured, in words
--   command  a command line that shows the rows
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query sanity_of_results

with final as (
    from findings_of_results($setting, $probe, $tap, $n_per_class)
    order by finding_rank(question, severity), dataset, model, split, finding
)

select * from final
