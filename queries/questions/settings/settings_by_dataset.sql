-- Does fine-tuning beat fixed features, and does pretraining beat training from scratch, on each dataset?
--
-- Every model that has a score in both settings is a pair. A difference is one of log-odds of the headline metric: the
-- first setting's less the other's; the test is Wilcoxon's signed-rank test over models, without the pairs that are
-- equal.
--
-- Grain: one row per dataset and pair of settings that some model was scored in.
-- Columns:
--   setting  the first setting: finetuned or fixed
--   other  the setting that it is compared with: fixed or scratch
--   dataset  name
--   n_models  models scored in both
--   n_higher  of these, those with a higher score in the first setting
--   n_lower  those with a lower one
--   n_equal  those with equal ones
--   mean_difference  mean over models of the difference, log-odds
--   median_difference  median over models of the difference, log-odds
--   p  of the test, two-sided; exact up to 60 models that differ; 1 where all are equal
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query settings_by_dataset -p probe=knn

with final as (
    select
        setting,
        other,
        dataset,
        count(*) as n_models,
        count(*) filter (difference > 0) as n_higher,
        count(*) filter (difference < 0) as n_lower,
        count(*) filter (difference = 0) as n_equal,
        avg(difference order by model) as mean_difference,
        median(difference) as median_difference,
        wilcoxon_p(list(difference order by model)) as p
    from setting_pairs($probe, $tap, $n_per_class)
    group by setting, other, dataset
    order by setting, other, dataset
)

select * from final
