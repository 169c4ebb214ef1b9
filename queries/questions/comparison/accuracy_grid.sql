-- What did each model score on each dataset?
--
-- Grain: one row per cell, that is per model, dataset, solver and seed of the slice asked for.
-- Columns:
--   model  name
--   dataset  name
--   metric  headline metric of the dataset
--   value  the metric on the test split, a fraction
--   standard_error  of value, from the test images alone
--   n_test  readable test images
--   solver  empty where the probe needs none
--   seed  of the cell
--   hyperparameter  name of what was tuned
--   chosen  its chosen value
--   at_grid_edge  whether the choice lies at an end of the grid
--   converged  whether the final fit converged
--   origin  the import that it comes from; null: computed here
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query accuracy_grid --format markdown

with slice as (
    from results
    where headline
        and setting = $setting
        and probe = $probe
        and tap = $tap
        and n_per_class is not distinct from $n_per_class
),

final as (
    select
        model,
        dataset,
        metric,
        value,
        standard_error,
        n_test,
        solver,
        seed,
        hyperparameter,
        chosen,
        at_grid_edge,
        converged,
        origin
    from slice
    order by dataset, value desc, model, solver, seed, origin
)

select * from final
