-- How far are the studies?
--
-- A run writes its progress every ten seconds while it works, and at its end. Of a run that was killed, the last
-- progress that it wrote remains.
--
-- Grain: one row per study, stage, dataset, model and tap.
-- Columns:
--   study  name
--   stage  features or probes
--   dataset  name
--   model  name
--   tap  layer that the features come from
--   wanted  shards (features) or cells (probes) that there are to be
--   done  those that are there
--   share  of those that are wanted, a fraction
--   images_per_second  of one worker, decoding included, when it was measured last; null where nothing was
--   updated_at  when the study's run wrote it down, UTC
-- Parameters:
--   study = null::varchar  the only study to show; null: all
-- Example: probestore query progress

with final as (
    select
        study,
        stage,
        dataset,
        model,
        tap,
        sum(wanted)::bigint as wanted,
        sum(done)::bigint as done,
        sum(done) / nullif(sum(wanted), 0) as share,
        -- Every split took wanted / rate of the time.
        sum(wanted) filter (images_per_second > 0)
        / nullif(sum(wanted / images_per_second) filter (images_per_second > 0), 0) as images_per_second,
        max(updated_at) as updated_at
    from progress
    where study = coalesce($study, study)
    group by all
    order by study, stage, share = 1, dataset, model, tap
)

select * from final
