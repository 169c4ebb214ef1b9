-- Training curves: macros that the questions about them share.

-- The headline score after each number of training steps, mean over seeds. The networks are trained on the training and
-- validation images together, as in the paper; where a result does not say how many these were, its dataset does.
-- Grain: one row per setting, model, dataset and number of training steps.
create macro training_points(the_probe, the_tap, the_n_per_class, the_batch) as table
with one_solver as (
    select distinct on (setting, model, dataset, train_steps, seed) *
    from training_curves
    where headline
        and probe = the_probe
        and tap = the_tap
        and n_per_class is not distinct from the_n_per_class
    order by created_at desc, solver
),
runs as (
    select
        one_solver.*,
        coalesce(
            one_solver.n_train + one_solver.n_val,
            case when n_per_class is null then dataset_sizes.n_train end
        ) as images
    from one_solver left join dataset_sizes using (dataset)
)
select
    setting,
    model,
    dataset,
    train_steps,
    train_steps * the_batch / nullif(min(images), 0) as epochs,
    any_value(metric) as metric,
    avg(value order by seed) as value,
    avg(logit(value, n_test) order by seed) as logit,
    count(*) as n_seeds
from runs
group by setting, model, dataset, train_steps;
