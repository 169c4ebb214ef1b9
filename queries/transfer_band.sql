-- What line runs through each plot of transfer against source accuracy, and how sure is it?
--
-- Topic: correlation
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
--   source = 'imagenet_top1'  source metric, one of `probestore query correlation_by_source`
--   seed = 0  of the bootstrap
--   replicates = 2000  of the bootstrap
-- Example: probestore query transfer_band -p replicates=500 --format csv

with lines as (
    select
        panel,
        regr_slope(logit, source_x) as slope,
        regr_intercept(logit, source_x) as intercept,
        min(source_x) as left_end,
        max(source_x) as right_end
    from (from transfer_points($setting, $probe, $tap, $n_per_class, $source) order by panel, model)
    group by panel
    having count(*) >= 3 and left_end < right_end
),

positions as (
    select *, left_end + step / 24 * (right_end - left_end) as source_x from lines, range(25) as steps(step)
),

final as (
    select
        panel,
        source_x,
        any_value(positions.intercept + positions.slope * source_x) as logit,
        quantile_cont(replicate.intercept + replicate.slope * source_x, 0.025) as logit_low,
        quantile_cont(replicate.intercept + replicate.slope * source_x, 0.975) as logit_high
    from positions
    join bootstrap_lines($setting, $probe, $tap, $n_per_class, $source, $seed, $replicates) as replicate using (panel)
    group by panel, source_x
    order by panel, source_x
)

select * from final
