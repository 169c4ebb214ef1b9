-- Which failures are still open?
--
-- A failure is no longer open when every wanted cell that it concerns is done, or when its own cell is no longer
-- wanted.
--
-- Grain: one row per stage, model, tap, dataset and cell that failed: the latest time.
-- Columns:
--   stage  dataset, model, extract or probe
--   model  name; null: every model
--   tap  layer that the features come from; null: every one
--   dataset  name; null: every dataset
--   error  class of the error
--   message  what the error said
--   cells_waiting  wanted cells that are not done because of it
--   failed_at  when, UTC
--   tried_again  whether the next run tries it although nothing has changed; else only with --retry-failed
--   study  that ran
-- Example: probestore query open_failures --format json

with concerned as (
    select
        failures.*,
        cell_status.cell is not null as wanted,
        cell_status.status is distinct from 'done' as waiting
    from failures
    left join cell_status on
        case when failures.cell is not null then failures.cell = cell_status.cell
        else coalesce(failures.model, cell_status.model) = cell_status.model
            and coalesce(failures.tap, cell_status.tap) = cell_status.tap
            and coalesce(failures.dataset, cell_status.dataset) = cell_status.dataset
        end
),

final as (
    select
        stage,
        model,
        tap,
        dataset,
        error,
        message,
        count(*) filter (wanted and waiting) as cells_waiting,
        failed_at,
        key is null as tried_again,
        study
    from concerned
    group by stage, model, tap, dataset, cell, error, message, failed_at, key, study
    having cells_waiting > 0 or (cell is null and not bool_or(wanted))
    order by failed_at desc, stage, model, tap, dataset, cell
)

select * from final
