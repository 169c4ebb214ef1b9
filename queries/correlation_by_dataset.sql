-- On which datasets does a better source model transfer better?
--
-- Pearson's r between the log-odds of ImageNet top-1 and those of the headline metric. Each dataset counts every model
-- that was scored on it and whose imagenet_top1 is known, so n_models may differ. r is null below three models.
--
-- Topic: correlation
-- Grain: one row per dataset.
-- Columns:
--   dataset  name
--   r  Pearson correlation on the log-odds scale
--   r_low  lower end of the 95% percentile bootstrap interval over models
--   r_high  upper end
--   fisher_low  lower end of Fisher's 95% interval; null below four models
--   fisher_high  upper end
--   spearman  rank correlation, ties sharing the mean of their places
--   n_models  models counted
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric, one of `probestore query correlation_by_source`
--   seed = 0  of the bootstrap
--   replicates = 2000  of the bootstrap
-- Example: probestore query correlation_by_dataset --format csv

with points as (
    select
        panel as dataset,
        model,
        source_x,
        logit,
        average_rank_within(panel, round(source_x, 12)) as source_place,
        average_rank_within(panel, round(logit, 12)) as place
    from transfer_points($setting, $probe, $tap, $n_per_class, $source)
    where panel <> 'mean over datasets'
),

correlations as (
    select
        dataset,
        pearson(source_x, logit) as r,
        pearson(source_place, place) as spearman,
        count(*) as n_models
    from (from points order by dataset, model)
    group by dataset
),

bootstrap as (
    select panel as dataset, quantile_cont(r, 0.025) as r_low, quantile_cont(r, 0.975) as r_high
    from bootstrap_lines($setting, $probe, $tap, $n_per_class, $source, $seed, $replicates)
    group by panel
),

final as (
    select
        dataset,
        r,
        r_low,
        r_high,
        fisher_interval(r, n_models).low as fisher_low,
        fisher_interval(r, n_models).high as fisher_high,
        spearman,
        n_models
    from correlations left join bootstrap using (dataset)
    order by r desc nulls last, dataset
)

select * from final
