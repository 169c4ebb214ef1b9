-- In how many cells does one setting beat another?
--
-- A cell is a model and a dataset with a score in both settings. `settings_by_dataset` answers per dataset, with a
-- test.
--
-- Grain: one row per pair of settings that some cell was scored in.
-- Columns:
--   setting  the first setting: finetuned or fixed
--   other  the setting that it is compared with: fixed or scratch
--   n_cells  cells scored in both
--   n_higher  of these, those with a higher score in the first setting
--   n_lower  those with a lower one
--   n_equal  those with equal ones
--   mean_difference  mean over cells of the difference in log-odds, the first setting's less the other's
--   n_models  models of these cells
--   n_datasets  datasets of these cells
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query settings_cells

with final as (
    select
        setting,
        other,
        count(*) as n_cells,
        count(*) filter (difference > 0) as n_higher,
        count(*) filter (difference < 0) as n_lower,
        count(*) filter (difference = 0) as n_equal,
        avg(difference order by dataset, model) as mean_difference,
        count(distinct model) as n_models,
        count(distinct dataset) as n_datasets
    from setting_pairs($probe, $tap, $n_per_class)
    group by setting, other
    order by setting, other
)

select * from final
