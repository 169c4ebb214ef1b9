-- Which known properties of a model predict how well it transfers?
--
-- This is `transfer_correlation` with each source metric of the view `source_metrics`: imagenet_top1, sizes (params,
-- feature_dim, input_size), and every other that a study or an import gives. The other correlation questions take their
-- names as `source`.
--
-- Grain: one row per source metric that is known of a model.
-- Columns:
--   source  name
--   n_known  models of the store that it is known of
--   lowest  its smallest value
--   highest  its largest value
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
--   seed = 0  of the bootstrap and the shuffles
--   replicates = 2000  of the bootstrap, and shuffles
-- Example: probestore query correlation_by_source --format markdown

with sources as (
    select source, count(*) as n_known, min(value) as lowest, max(value) as highest
    from source_metrics
    group by source
),

found as (
    from correlations(
        ['source'], $setting, $probe, $tap, $n_per_class, null::varchar, null::bigint, $seed, $replicates
    )
),

final as (
    select
        source,
        n_known,
        lowest,
        highest,
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
    from sources left join found on panel = source
    order by abs(r) desc nulls last, source
)

select * from final
