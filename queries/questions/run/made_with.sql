-- With which libraries and devices were the features made that the results rest on?
--
-- The question `provenance` says the same of the fits, and `mixed_versions` shows what was made with several.
--
-- Grain: one row per installation.
-- Columns:
--   versions  JSON: library and version; null where the features do not say
--   device  cpu, or the card and its CUDA
--   n_models  models
--   n_datasets  datasets
--   n_images  images of train, val and test, once for each model and tap
-- Example: probestore query made_with --format json

with final as (
    select
        versions,
        device,
        count(distinct model) as n_models,
        count(distinct dataset) as n_datasets,
        sum(n_images)::bigint as n_images
    from made_with(null)
    group by versions, device
    order by n_images desc, versions, device
)

select * from final
