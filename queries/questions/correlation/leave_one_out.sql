-- Does the correlation hang on a single model?
--
-- The question computes r and the regression line of `transfer_correlation` again without each model in turn. Cook's
-- distance (Cook 1977) says how far the whole line moves, in its own uncertainty: residual^2 / (2 s^2) * leverage / (1
-- - leverage)^2; above 1 is much. Columns are null where r or the line is null: r without a model needs three others. A
-- source that no model has gives no row.
--
-- Grain: one row per compared model whose source metric is known, the one that moves r most first.
-- Columns:
--   model  left out
--   source_value  its source metric
--   r  Pearson correlation of all models
--   r_without  of the others
--   r_change  r_without less r
--   slope_without  slope of the line through the others, log-odds of transfer per unit of the source axis
--   slope_change  slope_without less the slope of all
--   leverage  how far out it lies on the source axis: 1 / n for a model at the mean, 1 for one that decides the slope
--   cooks_distance  how far the line moves without it
--   n_models  models counted, this one included
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
-- Example: probestore query leave_one_out -p setting=scratch

with points as (
    from transfer_residuals($setting, $probe, $tap, $n_per_class, $source)
),

all_points as (
    select list(model order by model) as models, centred(list(source_x order by model)) as xs,
        centred(list(logit order by model)) as ys
    from points
),

lines as (
    select
        model,
        line_of(xs, ys) as line,
        line_of(
            list_filter(xs, lambda x, place: models[place] <> model),
            list_filter(ys, lambda y, place: models[place] <> model)
        ) as line_without
    from all_points, (select unnest(models) as model from all_points)
),

final as (
    select
        model,
        value as source_value,
        line.r as r,
        line_without.r as r_without,
        line_without.r - line.r as r_change,
        line_without.slope as slope_without,
        line_without.slope - line.slope as slope_change,
        leverage,
        studentised * studentised / 2 * leverage / nullif(1 - leverage, 0) as cooks_distance,
        n_models
    from lines join points using (model) join source_metrics using (model)
    where source = $source
    order by abs(r_change) desc nulls last, model
)

select * from final
