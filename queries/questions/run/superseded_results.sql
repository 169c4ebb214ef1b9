-- Which stored results count in no answer, and why?
--
-- They stay in the table `stored_results`, and cell by cell in `superseded_results`.
--
-- Grain: one row per reason, model, setting and origin.
-- Columns:
--   reason  why they are left out
--   model  name
--   setting  fixed, finetuned or scratch
--   origin  the import that they come from; null: computed here
--   n_cells  cells that are left out
--   n_datasets  datasets that they are on
--   n_replaced  of the cells, those in whose place another one is computed; the others wait for their study to run again
--   first  when the first of them was computed, UTC
--   last  when the last of them was
-- Example: probestore query superseded_results

with cells_in_their_place as (
    select distinct model, dataset, setting, tap, probe, solver, n_per_class, seed, train_steps, origin
    from stored_results semi join current_cells using (cell)
),

final as (
    select
        reason,
        gone.model,
        gone.setting,
        gone.origin,
        count(distinct gone.cell) as n_cells,
        count(distinct gone.dataset) as n_datasets,
        count(distinct gone.cell) filter (others.model is not null) as n_replaced,
        min(gone.created_at) as first,
        max(gone.created_at) as last
    from superseded_results as gone
    left join cells_in_their_place as others on
        others.model = gone.model
        and others.dataset = gone.dataset
        and others.setting = gone.setting
        and others.tap = gone.tap
        and others.probe = gone.probe
        and others.solver = gone.solver
        and others.seed = gone.seed
        and others.n_per_class is not distinct from gone.n_per_class
        and others.train_steps is not distinct from gone.train_steps
        and others.origin is not distinct from gone.origin
    group by reason, gone.model, gone.setting, gone.origin
    order by reason, gone.model, gone.setting, gone.origin nulls first
)

select * from final
