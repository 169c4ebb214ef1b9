-- What line runs through each plot of transfer against source accuracy, and how sure is it?
--
-- Topic: correlation
-- Grain: one row per panel of `transfer_points` with at least three models, and position (25 of them, left to right).
-- Columns:
--   panel  `mean over datasets` or a dataset
--   source_logit  position: log-odds of the source accuracy
--   logit  height of the regression line, log-odds
--   logit_low  lower end of its 95% percentile bootstrap band over models
--   logit_high  upper end
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   seed = 0  of the bootstrap
--   replicates = 2000  of the bootstrap
-- Example: probestore query transfer_band -p replicates=500 --format csv

with lines as (
    select
        panel,
        regr_slope(logit, source_logit) as slope,
        regr_intercept(logit, source_logit) as intercept,
        min(source_logit) as left_end,
        max(source_logit) as right_end
    from (from transfer_points($setting, $probe, $tap, $n_per_class) order by panel, model)
    group by panel
    having count(*) >= 3 and left_end < right_end
),

positions as (
    select *, left_end + step / 24 * (right_end - left_end) as source_logit from lines, range(25) as steps(step)
),

final as (
    select
        panel,
        source_logit,
        any_value(positions.intercept + positions.slope * source_logit) as logit,
        quantile_cont(replicate.intercept + replicate.slope * source_logit, 0.025) as logit_low,
        quantile_cont(replicate.intercept + replicate.slope * source_logit, 0.975) as logit_high
    from positions
    join bootstrap_lines($setting, $probe, $tap, $n_per_class, $seed, $replicates) as replicate using (panel)
    group by panel, source_logit
    order by panel, source_logit
)

select * from final
