-- What should one know before one believes the numbers?
--
-- All checks of this topic at once, with their default thresholds, of what holds now. A warning says that a number may
-- not mean what it seems to; a remark is a fact that belongs beside the numbers. Each check is a question of its own,
-- whose header says what its thresholds are and why. The parameters are those of the line in `off_the_line`; all other
-- checks look at every cell.
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
-- Example: probestore query sanity

with found as (
    from findings_of_results($setting, $probe, $tap, $n_per_class)
    union all
    from findings_of_images()
),

final as (
    from found order by finding_rank(question, severity), dataset, model, split, finding
)

select * from final
