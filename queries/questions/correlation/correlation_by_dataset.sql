-- On which datasets does a better source model transfer better?
--
-- It is the correlation between the source metric on its axis (log-odds of ImageNet top-1, unless `source` says
-- otherwise) and the log-odds of the headline metric. Each dataset counts every model that was scored on it and whose
-- source metric is known, so n_models may differ. A source that no model has gives no row. r, the rank correlations and
-- p are null below three models, and where one side does not vary.
--
-- Grain: one row per dataset.
-- Columns:
--   dataset  name
--   r  Pearson correlation of the models, both sides on their axes
--   r_low  lower end of the 95% percentile bootstrap interval over models
--   r_high  upper end
--   fisher_low  lower end of Fisher's 95% interval; null below four models
--   fisher_high  upper end
--   permutation_p  how often shuffled models correlate as much, two-sided: (b + 1) / (replicates + 1)
--   spearman  rank correlation, ties sharing the mean of their places
--   kendall  tau-b, which allows for ties
--   n_models  models counted
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
--   seed = 0  of the bootstrap and the shuffles
--   replicates = 2000  of the bootstrap, and shuffles
-- Example: probestore query correlation_by_dataset --format csv

with final as (
    select
        panel as dataset,
        r,
        r_low,
        r_high,
        fisher_low,
        fisher_high,
        permutation_p,
        spearman,
        kendall,
        n_models
    from correlations(
        ['dataset'], $setting, $probe, $tap, $n_per_class, $source, null::bigint, $seed, $replicates
    )
    order by r desc nulls last, dataset
)

select * from final
