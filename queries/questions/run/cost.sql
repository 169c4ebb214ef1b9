-- What did features and probes cost?
--
-- Counted are the features in use and the current cells, in seconds of one worker: on several workers less time passes.
-- The features' seconds are images / images_per_second, a rate that the last run that extracted them measured; they
-- come from the store's images alone, so they belong to the setting `fixed`, however many probes read them.
--
-- Grain: one row per setting, model and dataset with a result or, in the setting fixed, stored features.
-- Columns:
--   setting  fixed, finetuned or scratch
--   model  name
--   dataset  name
--   images  of all splits that went through the network, unreadable ones included; null where it is not known
--   images_per_second  of one worker, decoding included; null where nothing was measured
--   feature_seconds  extracting; null where images or their rate are not known
--   feature_bytes  of the stored files, all taps and splits; null where there are none, or nobody listed them
--   n_cells  results of any probe
--   cell_seconds  choosing, refitting and scoring, summed over cells; null where no cell says
--   seconds  feature_seconds + cell_seconds, as far as they are known
-- Example: probestore query cost --format csv

with rates as (
    select
        'fixed' as setting,
        model,
        dataset,
        sum(wanted) / sum(wanted / images_per_second) as images_per_second
    from progress
    where stage = 'features' and images_per_second > 0
    group by model, dataset
),

files as (
    select 'fixed' as setting, model, dataset, sum(bytes)::bigint as feature_bytes, count(*) as n_files
    from stored_feature_files semi join current_feature_sets using (model, dataset, split, key)
    where bytes is distinct from 0
    group by model, dataset
),

computed as (
    select distinct setting, model, dataset, cell, seconds from results where origin is null
),

cells_computed as (
    select setting, model, dataset, count(*) as n_cells, sum(seconds order by cell) as cell_seconds
    from computed
    group by setting, model, dataset
),

final as (
    select
        setting,
        model,
        dataset,
        case when n_files > 0 then n_train + n_val + n_test end as images,
        images_per_second,
        images / images_per_second as feature_seconds,
        feature_bytes,
        coalesce(n_cells, 0) as n_cells,
        cell_seconds,
        case
            when feature_seconds is not null or cell_seconds is not null
                then coalesce(feature_seconds, 0) + coalesce(cell_seconds, 0)
        end as seconds
    from cells_computed
    full join files using (setting, model, dataset)
    left join rates using (setting, model, dataset)
    left join datasets using (dataset)
    order by setting, model, dataset
)

select * from final
