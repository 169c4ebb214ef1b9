-- Fits: macros that the questions about their health share.

-- The headline result of every current cell that was computed here, with the ends of the grid that its hyper-parameter
-- was chosen from: edge is `low` or `high` where the choice lies at that end, else null; tied is the number of values with
-- the best metric (all metrics that choose are better if higher; as `tied` of probes/fitting/tuning.py counts them).
-- Grain: one row per cell.
create macro fits() as table
with grids as (
    select
        cell,
        min(value) as grid_low,
        max(value) as grid_high,
        count(*) filter (best - validation <= 1e-12 + 1e-12 * abs(best)) as tied
    from (
        select *, max(validation) filter (not isnan(validation)) over (partition by cell) as best
        from tuning
    )
    group by cell
)
select
    results.*,
    grid_low,
    grid_high,
    tied,
    tied > 1 and ties_by is null as former_choice,
    case when at_grid_edge and chosen <= grid_low then 'low' when at_grid_edge then 'high' end as edge
from results left join grids using (cell)
where headline and origin is null;
