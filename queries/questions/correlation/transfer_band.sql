-- What line runs through each plot of transfer against source accuracy, and how sure is it?
--
-- Grain: one row per panel of `transfer_points` with at least three models, and position (25 of them, left to right).
-- Columns:
--   panel  `mean over datasets` or a dataset
--   source_x  position: the source metric on its axis, as in `transfer_points`
--   logit  height of the regression line, log-odds
--   logit_low  lower end of its 95% percentile bootstrap band over models
--   logit_high  upper end
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
--   seed = 0  of the bootstrap
--   replicates = 2000  of the bootstrap
-- Example: probestore query transfer_band -p replicates=500 --format csv

with panels as (
    select *, line_of(xs, ys) as line
    from transfer_panels(['mean', 'dataset'], $setting, $probe, $tap, $n_per_class, $source, null::bigint)
    where n_models >= 3
),

positions as (
    select
        panel,
        mean_x + list_min(xs) + step / 24 * (list_max(xs) - list_min(xs)) as source_x,
        mean_y + line.intercept + line.slope * (source_x - mean_x) as logit
    from panels, range(25) as steps(step)
    where line.slope is not null
),

replicates as (
    select panel, slope, intercept
    from resampled(
        ['mean', 'dataset'], $setting, $probe, $tap, $n_per_class, $source, null::bigint, $seed, $replicates
    )
    where slope is not null
),

final as (
    select
        panel,
        source_x,
        any_value(logit) as logit,
        quantile_cont(intercept + slope * source_x, 0.025) as logit_low,
        quantile_cont(intercept + slope * source_x, 0.975) as logit_high
    from positions join replicates using (panel)
    group by panel, source_x
    order by panel, source_x
)

select * from final
