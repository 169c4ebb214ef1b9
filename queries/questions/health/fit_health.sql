-- Can the fits be trusted: did they converge, and did the grids reach far enough?
--
-- It counts the rows of `chosen_regularization` and `tuning_curves`. At the end of a grid a value counts only if it is
-- better than the one beside it.
--
-- Grain: one row per setting, probe and solver.
-- Columns:
--   setting  fixed, finetuned or scratch
--   probe  name
--   solver  empty where the probe needs none
--   fits  cells with a headline metric
--   not_converged  cells whose final fit says that it did not converge
--   at_low_edge  cells whose choice is the smallest value tried: a better one may be smaller still
--   at_high_edge  cells whose choice is the largest value tried, or at an end of a grid that is not stored
--   former_choice  cells whose value an older version chose among tied ones, by strength; a run of their study refits them
--   kept_chosen_fit  cells fitted on train alone, because with the validation images they did worse on these than before
--   largest_duality_gap  of the final fits, relative to the objective; null where no fit has one
--   largest_gradient_norm  of the final fits; null where no fit has one
--   without_evidence  cells that do not say whether they converged: closed forms, votes, imports
-- Example: probestore query fit_health

with final as (
    select
        setting,
        probe,
        solver,
        count(*) as fits,
        count(*) filter (not converged) as not_converged,
        count(*) filter (edge = 'low') as at_low_edge,
        count(*) filter (edge = 'high') as at_high_edge,
        count(*) filter (former_choice) as former_choice,
        count(*) filter (chosen is not null and not refitted and n_per_class is null) as kept_chosen_fit,
        max(duality_gap) as largest_duality_gap,
        max(gradient_norm) as largest_gradient_norm,
        count(*) filter (converged is null) as without_evidence
    from fits()
    group by setting, probe, solver
    order by not_converged desc, setting, probe, solver
)

select * from final
