-- Does a better source model transfer better to datasets with few training images than to those with many?
--
-- The compared datasets are divided by their training and validation images; each group is averaged over its datasets
-- and correlated as in `transfer_correlation`. A source that no model has gives no row.
--
-- Grain: one row per group that has a compared dataset.
-- Columns:
--   training_images  `under 10,000`, `10,000 and above` (as the threshold says), or `size not known`
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
--   datasets  their names
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
--   threshold = 10000  training and validation images of the full task, from which a dataset counts as large
--   seed = 0  of the bootstrap and the shuffles
--   replicates = 2000  of the bootstrap, and shuffles
-- Example: probestore query correlation_by_training_size -p setting=scratch

with names as (
    select panel, string_agg(distinct dataset, ', ' order by dataset) as datasets
    from transfer_cells(['size'], $setting, $probe, $tap, $n_per_class, $source, $threshold)
    group by panel
),

final as (
    select
        panel as training_images,
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
        n_models,
        n_datasets,
        datasets
    from correlations(
        ['size'], $setting, $probe, $tap, $n_per_class, $source, $threshold, $seed, $replicates
    )
    join names using (panel)
    order by training_images = 'size not known', training_images not like 'under %'
)

select * from final
