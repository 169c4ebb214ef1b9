-- Costs: macros that the questions about them share.

-- Seconds and bytes of features and probes, in seconds of one worker. The features in use and the current cells
-- count. Imported results cost nothing here.
-- Grain: one row per setting, model and dataset with a result or, in the setting fixed, stored features.
create macro costs() as table
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
)
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
left join datasets using (dataset);
