-- Does a better source model transfer better with fixed features, fine-tuned, or trained from scratch?
--
-- This is `transfer_correlation` in each setting. Each setting counts the models and datasets that form its own largest
-- block without holes, so n_models and n_datasets may differ. For a source that no model has, n_models is 0.
--
-- Grain: one row per setting that the store has results of.
-- Columns:
--   setting  fixed, finetuned or scratch
--   r  Pearson correlation of the models, both sides on their axes
--   r_low  lower end of the 95% percentile bootstrap interval over models
--   r_high  upper end
--   r_low_both  lower end of the interval with models and datasets both drawn; null with one dataset
--   r_high_both  upper end
--   fisher_low  lower end of Fisher's 95% interval; null below four models
--   fisher_high  upper end
--   permutation_p  how often shuffled models correlate as much, two-sided: (b + 1) / (replicates + 1)
--   spearman  rank correlation, ties sharing the mean of their places
--   kendall  tau-b, which allows for ties
--   slope  of the regression line, log-odds of transfer per unit of the source axis
--   intercept  of the regression line, log-odds
--   n_models  models counted
--   n_datasets  datasets averaged
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
--   seed = 0  of the bootstrap and the shuffles
--   replicates = 2000  of the bootstrap, and shuffles
-- Example: probestore query correlation_by_setting --format markdown

with found as (
    select 'fixed' as setting, *
    from correlations(['mean'], 'fixed', $probe, $tap, $n_per_class, $source, null::bigint, $seed, $replicates)
    union all
    select 'finetuned' as setting, *
    from correlations(['mean'], 'finetuned', $probe, $tap, $n_per_class, $source, null::bigint, $seed, $replicates)
    union all
    select 'scratch' as setting, *
    from correlations(['mean'], 'scratch', $probe, $tap, $n_per_class, $source, null::bigint, $seed, $replicates)
),

final as (
    select
        setting,
        r,
        r_low,
        r_high,
        r_low_both,
        r_high_both,
        fisher_low,
        fisher_high,
        permutation_p,
        spearman,
        kendall,
        slope,
        intercept,
        coalesce(n_models, 0) as n_models,
        coalesce(n_datasets, 0) as n_datasets
    from (select distinct setting from results where headline) left join found using (setting)
    order by list_position(['fixed', 'finetuned', 'scratch'], setting)
)

select * from final
