-- What did each model cost, over its datasets?
--
-- It sums the answer of the question `cost`. A setting and model of which nothing is known have no row.
--
-- Grain: one row per setting and model.
-- Columns:
--   setting  fixed, finetuned or scratch
--   model  name
--   n_datasets  datasets counted
--   images  of all splits that went through the network; null where it is not known
--   images_per_second  of one worker, decoding included; null where nothing was measured
--   feature_seconds  extracting; null where no dataset's are known
--   feature_bytes  of the stored files; null where there are none
--   n_cells  results of any probe
--   cell_seconds  choosing, refitting and scoring; null where no cell says
-- Example: probestore query cost_by_model --format markdown

with final as (
    select
        setting,
        model,
        count(*) as n_datasets,
        sum(images)::bigint as images,
        sum(images) filter (feature_seconds is not null) / sum(feature_seconds order by dataset) as images_per_second,
        sum(feature_seconds order by dataset) as feature_seconds,
        sum(feature_bytes)::bigint as feature_bytes,
        sum(n_cells)::bigint as n_cells,
        sum(cell_seconds order by dataset) as cell_seconds
    from costs()
    group by setting, model
    having sum(feature_bytes) is not null or sum(cell_seconds) is not null or sum(images) is not null
    order by setting, model
)

select * from final
