-- Does a better source model transfer better?
--
-- It is the correlation between the source metric on its axis (log-odds of ImageNet top-1, unless `source` says
-- otherwise) and the mean log-odds over datasets: scores are averaged first, then correlated. It counts the compared
-- models (macro `compared` in shared/macros.sql: the largest block of models and datasets without holes) whose source
-- metric is known; none, for a source that no model has. r, the rank correlations and p are null below three models,
-- and where one side does not vary. On few models the bootstrap is too narrow, and Fisher's interval, which knows their
-- number, is the one to trust. The interval over models is about other models on these datasets, the one over both
-- about other datasets too.
--
-- Grain: one row.
-- Columns:
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
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
--   seed = 0  of the bootstrap and the shuffles
--   replicates = 2000  of the bootstrap, and shuffles
-- Example: probestore query transfer_correlation -p setting=scratch

with found as (
    from correlations(
        ['mean'], $setting, $probe, $tap, $n_per_class, $source, null::bigint, $seed, $replicates
    )
),

final as (
    select
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
    from (select 'mean over datasets' as panel) left join found using (panel)
)

select * from final
