-- What is done, what failed and what is missing?
--
-- Grain: one row per cell that a study wants.
-- Columns:
--   model  name
--   dataset  name
--   setting  fixed, finetuned or scratch
--   tap  layer that the features come from
--   probe  name
--   solver  name
--   n_per_class  training images per class; null: all
--   seed  of the cell
--   study  that wanted it last
--   status  done, failed or missing; a result counts more than a failure
--   stage  where it failed: dataset, model, extract or probe
--   error  class of the error
--   message  what the error said
-- Example: probestore query coverage

with final as (
    select
        model,
        dataset,
        setting,
        tap,
        probe,
        solver,
        n_per_class,
        seed,
        study,
        status,
        case when status = 'failed' then stage end as stage,
        case when status = 'failed' then error end as error,
        case when status = 'failed' then message end as message
    from cell_status
    order by status <> 'failed', status <> 'missing', dataset, model, setting, tap, probe, solver, n_per_class, seed
)

select * from final
