-- How does the validation metric depend on the hyper-parameter?
--
-- Grain: one row per cell of the slice asked for and value tried.
-- Columns:
--   model  name
--   dataset  name
--   solver  name
--   seed  of the cell
--   hyperparameter  name of what was tuned
--   value  its value
--   metric  name of the metric
--   validation  the metric on the validation split, a fraction
--   loss  on the validation split: it decides among values with the best metric; null in older results
--   loss_kind  cross_entropy, in nats, or squared_error; null where there is no loss
--   chosen  whether this value was chosen
--   at_grid_edge  whether it was chosen at an end of the grid
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query tuning_curves --format csv

with choices as (
    select cell, chosen, at_grid_edge from results where headline
),

final as (
    select
        model,
        dataset,
        solver,
        seed,
        hyperparameter,
        value,
        metric,
        validation,
        loss,
        loss_kind,
        coalesce(value = chosen, false) as chosen,
        coalesce(value = chosen and at_grid_edge, false) as at_grid_edge
    from tuning left join choices using (cell)
    where setting = $setting
        and probe = $probe
        and tap = $tap
        and n_per_class is not distinct from $n_per_class
    order by dataset, model, solver, seed, value
)

select * from final
