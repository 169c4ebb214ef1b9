-- Which hyper-parameter did each cell choose, and can the fit be trusted?
--
-- Grain: one row per cell with a hyper-parameter.
-- Columns:
--   model  name
--   dataset  name
--   setting  fixed, finetuned or scratch
--   tap  layer that the features come from
--   probe  name
--   solver  name
--   n_per_class  training images per class; null: all
--   seed  of the cell
--   hyperparameter  name of what was tuned
--   chosen  its chosen value
--   grid_low  smallest value tried
--   grid_high  largest value tried
--   edge  low or high where the choice lies at that end of the grid (a better value may lie outside), else null
--   validation  the metric on the validation split at the chosen value, a fraction
--   tied  values tried that have the best metric, the chosen one among them
--   loss  on the validation split at the chosen value, which decides among the tied; null in older results
--   loss_kind  cross_entropy, in nats, or squared_error; null where there is no loss
--   former_choice  whether an older version chose among tied values, by strength; the next run of its study fits it again
--   refitted  whether the final fit used the validation images; not in few-shot tasks, nor where it did worse on them
--   converged  whether the final fit converged
--   n_iter  iterations of the final fit
--   gradient_norm  of the final fit
--   duality_gap  of the final fit, relative to its objective
-- Example: probestore query chosen_regularization

-- The chosen value comes back from the file as it was tried, so equality is exact.
with at_choice as (
    select
        results.cell,
        any_value(tuning.validation) as validation,
        any_value(loss) as loss,
        any_value(loss_kind) as loss_kind
    from results
    join tuning on tuning.cell = results.cell and tuning.value = results.chosen
    where headline
    group by results.cell
),

final as (
    select
        model,
        dataset,
        setting,
        tap,
        probe,
        solver,
        n_per_class,
        seed,
        hyperparameter,
        chosen,
        grid_low,
        grid_high,
        edge,
        validation,
        tied,
        loss,
        loss_kind,
        former_choice,
        refitted,
        converged,
        n_iter,
        gradient_norm,
        duality_gap
    from fits() left join at_choice using (cell)
    where chosen is not null
    order by dataset, model, setting, tap, probe, solver, n_per_class, seed
)

select * from final
