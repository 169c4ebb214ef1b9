-- Does a better source model transfer better?
--
-- Pearson's r between the log-odds of ImageNet top-1 and the mean log-odds over datasets: averaged first, then
-- correlated. Counted are the compared models (macro `compared` in _macros.sql: the largest block of models and
-- datasets without holes) whose imagenet_top1 is known. r is null below three models. The bootstrap draws models; on
-- few of them it is too narrow, and Fisher's interval, which knows their number, is the honest one.
--
-- Topic: correlation
-- Grain: one row.
-- Columns:
--   r  Pearson correlation on the log-odds scale
--   r_low  lower end of the 95% percentile bootstrap interval over models
--   r_high  upper end
--   fisher_low  lower end of Fisher's 95% interval; null below four models
--   fisher_high  upper end
--   spearman  rank correlation, ties sharing the mean of their places
--   slope  of the regression line, log-odds per log-odds
--   intercept  of the regression line, log-odds
--   n_models  models counted
--   n_datasets  datasets averaged
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric, one of `probestore query correlation_by_source`
--   seed = 0  of the bootstrap
--   replicates = 2000  of the bootstrap
-- Example: probestore query transfer_correlation -p setting=scratch

with points as (
    select
        source_x,
        logit,
        model,
        average_rank(round(source_x, 12)) as source_place,
        average_rank(round(logit, 12)) as place
    from transfer_points($setting, $probe, $tap, $n_per_class, $source)
    where panel = 'mean over datasets'
),

line as (
    select
        pearson(source_x, logit) as r,
        pearson(source_place, place) as spearman,
        regr_slope(logit, source_x) as slope,
        regr_intercept(logit, source_x) as intercept,
        count(*) as n_models
    from (from points order by model)
),

bootstrap as (
    select quantile_cont(r, 0.025) as r_low, quantile_cont(r, 0.975) as r_high
    from bootstrap_lines($setting, $probe, $tap, $n_per_class, $source, $seed, $replicates)
    where panel = 'mean over datasets'
),

datasets_averaged as (
    select count(distinct dataset) as n_datasets from compared($setting, $probe, $tap, $n_per_class)
),

final as (
    select
        r,
        r_low,
        r_high,
        fisher_interval(r, n_models).low as fisher_low,
        fisher_interval(r, n_models).high as fisher_high,
        spearman,
        case when n_models >= 2 and not isnan(slope) then slope end as slope,
        case when n_models >= 2 and not isnan(intercept) then intercept end as intercept,
        n_models,
        n_datasets
    from line, bootstrap, datasets_averaged
)

select * from final
