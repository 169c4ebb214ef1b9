-- How does the mean accuracy grow with the number of training images per class?
--
-- A model and a dataset count where they were scored with every number of images that their setting has, so that all
-- rows of a setting are means over the same models and datasets. A setting with one number of images has no row.
--
-- Grain: one row per setting and number of training images per class.
-- Columns:
--   setting  fixed, finetuned or scratch
--   n_per_class  training images per class; null: all
--   images  the same in words: a number, or all
--   value  headline metric, a fraction: mean over draws, models and datasets
--   n_models  models counted
--   n_datasets  datasets counted
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
-- Example: probestore query few_shot_means --format markdown

with curves as (
    select * from few_shot($probe, $tap)
),

sizes as (
    select setting, count(distinct coalesce(n_per_class, 0)) as sizes from curves group by setting
),

complete as (
    select setting, model, dataset
    from curves join sizes using (setting)
    where sizes > 1
    group by setting, model, dataset, sizes
    having count(*) = sizes
),

final as (
    select
        setting,
        n_per_class,
        coalesce(n_per_class::varchar, 'all') as images,
        avg(value order by dataset, model) as value,
        count(distinct model) as n_models,
        count(distinct dataset) as n_datasets
    from curves semi join complete using (setting, model, dataset)
    group by setting, n_per_class
    order by setting, n_per_class nulls last
)

select * from final
