-- How many training steps does it take to come close to the best that a training curve reaches?
--
-- A curve is as good as its best point when its odds, value / (1 - value), are the given share of that point's. The
-- steps are those of the shortest run that got there; nothing is interpolated, because every point is a run of its own
-- (see `training_curves`). The paper finds 1,151 steps for fine-tuning and 19,531 from scratch at a share of 0.9.
-- Curves of one point are left out.
--
-- Grain: one row per setting, model and dataset with a training curve, and one per setting for all of its curves.
-- Columns:
--   setting  finetuned or scratch
--   model  name; null in the row of the setting
--   dataset  name; null in the row of the setting
--   steps  of the shortest run that reaches the share; in the row of the setting, the geometric mean
--   steps_low  in the row of the setting, the lower quartile over its curves, else null
--   steps_high  the upper quartile
--   epochs  the same in epochs; null where the number of images is not known
--   n_curves  curves counted
-- Parameters:
--   share = 0.9::DOUBLE  of the highest odds of the curve
--   probe = 'logistic'  as the results name it
--   tap = 'penultimate'  layer that is trained up to
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   batch = 256  images per step
-- Example: probestore query steps_to_reach -p share=0.95

-- Rounded, so that at a share of 1 the best point reaches itself.
with points as (
    select *, exp(logit) as odds, max(exp(logit)) over (partition by setting, model, dataset) as best
    from training_points($probe, $tap, $n_per_class, $batch)
    where train_steps > 0
),

curves as (
    select
        setting,
        model,
        dataset,
        min(train_steps) filter (round(odds / best, 12) >= $share) as steps,
        min(epochs) filter (round(odds / best, 12) >= $share) as epochs
    from points
    group by setting, model, dataset
    having count(*) >= 2
),

of_settings as (
    select
        setting,
        exp(avg(ln(steps) order by model, dataset)) as steps,
        quantile_cont(steps, 0.25) as steps_low,
        quantile_cont(steps, 0.75) as steps_high,
        case when count(epochs) = count(*) then exp(avg(ln(epochs) order by model, dataset)) end as epochs,
        count(*) as n_curves
    from curves
    group by setting
),

rows_of_both as (
    select setting, null as model, null as dataset, steps, steps_low, steps_high, epochs, n_curves
    from of_settings
    union all
    select setting, model, dataset, steps, null, null, epochs, 1
    from curves
),

final as (
    from rows_of_both
    order by setting, model nulls first, dataset nulls first
)

select * from final
