-- Which results came last?
--
-- Grain: one row per result of a headline metric, the newest first.
-- Columns:
--   model  name
--   dataset  name
--   setting  fixed, finetuned or scratch
--   probe  name
--   tap  layer that the features come from
--   n_per_class  training images per class; null: all
--   metric  headline metric of the dataset
--   value  a fraction
--   created_at  when it was written
-- Parameters:
--   most = 12  rows at most
-- Example: probestore query latest_results -p most=5

with final as (
    select model, dataset, setting, probe, tap, n_per_class, metric, value, created_at
    from results
    where headline
    order by created_at desc, cell
    limit $most
)

select * from final
