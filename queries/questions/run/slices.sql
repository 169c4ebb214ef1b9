-- Which comparisons does the store hold?
--
-- They are values for the parameters of the other questions.
--
-- Grain: one row per setting, probe, tap and number of training images per class.
-- Columns:
--   setting  fixed, finetuned or scratch
--   probe  name
--   tap  layer that the features come from
--   n_per_class  training images per class; null: all
--   n_models  models with a result
--   n_datasets  datasets with a result
--   n_cells  (model, dataset) pairs with a result
-- Example: probestore query slices

with final as (
    select
        setting,
        probe,
        tap,
        n_per_class,
        count(distinct model) as n_models,
        count(distinct dataset) as n_datasets,
        count(distinct (model, dataset)) as n_cells
    from results
    where headline
    group by setting, probe, tap, n_per_class
    -- The first is what the report shows: between equals, the paper's own protocol.
    order by n_cells desc, setting <> 'fixed', probe <> 'logistic', n_per_class desc nulls first, setting, probe, tap
)

select * from final
