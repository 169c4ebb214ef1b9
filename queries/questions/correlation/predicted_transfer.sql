-- Where would my model lie on the line of published results?
--
-- The reference is the models of one import, `origin`. For every other model with a score in the slice their line of
-- transfer against the source metric is fitted again, over the datasets that the model shares with all of them (of the
-- sets of datasets that the model shares with some, the one that gives the most reference models x datasets), and read
-- at the model's own source metric. The interval is the one in which one more model of the reference's kind would lie
-- 19 times in 20: predicted +- t(n - 2) s sqrt(1 + 1/n + (x - mean x)^2 / Sxx) for the n reference models, with s^2 the
-- residual sum of squares over n - 2 (Weisberg, Applied Linear Regression, chapter 2: prediction). Datasets are matched
-- by their metric and the letters and digits of their names: `stanford_cars` is `Stanford Cars`. Nothing is predicted
-- below three reference models, or where the model's source metric is not known. A model that the import also names is
-- a row of its own for what was scored here, and its line is that of the import's other models.
--
-- Grain: one row per model that has a score from elsewhere than the import.
-- Columns:
--   model  name
--   reference  the import that the line is fitted to; null where there is none
--   n_datasets  datasets that the averages are over; 0 where none is shared
--   n_reference  models that the line is fitted to
--   source_value  source metric of the model, in its own unit
--   source_x  where that lies on the axis: log-odds of a fraction, log10 of a size, else the value
--   observed  mean log-odds of the model over those datasets; null where none is shared
--   predicted  mean log-odds that the line gives it
--   predicted_low  lower end of the 95% prediction interval
--   predicted_high  upper end
--   residual  observed less predicted, log-odds: above 0, the model transfers better than its source metric says
--   inside  whether observed lies in the interval
--   extrapolated  whether source_x lies outside those of the reference, where nothing supports the line
--   slope  of the line, log-odds per unit of source_x
--   intercept  of the line, log-odds
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric: imagenet_top1, params, feature_dim, input_size or one of source_metrics
--   origin = NULL::VARCHAR  import that the line is fitted to; NULL: the one with the most models in the slice
-- Example: probestore query predicted_transfer -p origin=kornblith2019

with scored as (
    select
        model,
        origin,
        created_at,
        dataset,
        coalesce(nullif(lower(regexp_replace(dataset, '[^\pL\pN]', '', 'g')), ''), dataset) || ' ' || metric as matched,
        logit
    from scores_by_origin($setting, $probe, $tap, $n_per_class)
),

most_models as (
    select origin from scored where origin is not null group by origin order by count(distinct model) desc, origin limit 1
),

chosen as (
    select coalesce($origin, (select origin from most_models)) as reference
),

-- Of what a model has elsewhere than in the reference, what was computed here counts before other imports. Should two
-- datasets of it match, the first by name counts.
sided as (
    select distinct on (scored.model, is_reference, matched)
        scored.model,
        coalesce(scored.origin = reference, false) as is_reference,
        matched,
        logit,
        value as source_value,
        x
    from scored
    cross join chosen
    left join source_metrics on source_metrics.model = scored.model and source = $source
    order by
        scored.model, is_reference, matched, scored.origin is not null, dataset, scored.created_at desc, scored.origin
),

held as (
    select model, is_reference, any_value(source_value) as source_value, any_value(x) as x, list(matched) as datasets
    from sided
    group by model, is_reference
),

shared as (
    select distinct own.model, list_sort(list_intersect(own.datasets, reference.datasets)) as datasets
    from held as own
    join held as reference on
        not own.is_reference and reference.is_reference and reference.x is not null and reference.model <> own.model
),

blocks as (
    select shared.model, shared.datasets, list(held.model) as models
    from shared
    join held on
        is_reference and x is not null and held.model <> shared.model and list_has_all(held.datasets, shared.datasets)
    where len(shared.datasets) > 0
    group by shared.model, shared.datasets
),

largest as (
    select distinct on (model) *
    from blocks
    order by model, len(datasets) * len(models) desc, len(models) desc, datasets
),

reference_points as (
    select largest.model, sided.model as reference_model, any_value(x) as x, avg(logit order by matched) as y
    from largest
    join sided on is_reference and list_contains(models, sided.model) and list_contains(datasets, matched)
    group by largest.model, sided.model
),

lines as (
    select
        model,
        count(*) as n,
        avg(x order by reference_model) as mean_x,
        min(x) as least_x,
        max(x) as most_x,
        regr_sxx(y, x order by reference_model) as sxx,
        regr_slope(y, x order by reference_model) as slope,
        regr_intercept(y, x order by reference_model) as intercept,
        regr_syy(y, x order by reference_model) as syy
    from reference_points
    group by model
),

-- The residual sum of squares is not below 0, but its difference may be, by rounding.
usable_lines as (
    select *, sqrt(greatest(0, syy - slope * slope * sxx) / (n - 2)) as s from lines where n >= 3 and sxx > 0
),

observed as (
    select largest.model, avg(logit order by matched) as observed
    from largest
    join sided on sided.model = largest.model and not is_reference and list_contains(datasets, matched)
    group by largest.model
),

predictions_made as (
    select
        own.model,
        reference,
        coalesce(len(largest.datasets), 0) as n_datasets,
        coalesce(len(largest.models), 0) as n_reference,
        source_value,
        x,
        observed,
        intercept + slope * x as predicted,
        t95(n - 2) * s * sqrt(1 + 1 / n + (x - mean_x) ** 2 / sxx) as margin,
        x < least_x or x > most_x as extrapolated,
        slope,
        intercept
    from held as own
    cross join chosen
    left join largest using (model)
    left join usable_lines using (model)
    left join observed using (model)
    where not is_reference
),

final as (
    select
        model,
        reference,
        n_datasets,
        n_reference,
        source_value,
        x as source_x,
        observed,
        predicted,
        predicted - margin as predicted_low,
        predicted + margin as predicted_high,
        observed - predicted as residual,
        observed between predicted - margin and predicted + margin as inside,
        extrapolated,
        slope,
        intercept
    from predictions_made
    order by residual desc nulls last, model
)

select * from final
