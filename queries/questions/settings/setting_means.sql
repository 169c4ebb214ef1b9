-- What is the mean score of each setting on each dataset, over the models?
--
-- It counts the models that were scored on the dataset in every setting that has scores on it, so that the settings
-- differ in nothing else.
--
-- Grain: one row per dataset and setting.
-- Columns:
--   dataset  name
--   setting  fixed, finetuned or scratch
--   n_models  models counted
--   mean_value  mean over models of the headline metric, a fraction
--   mean_logit  mean over models of its log-odds
--   standard_error  of mean_logit, over models; null with one model
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query setting_means --format markdown

with scored as (
    select 'fixed' as setting, model, dataset, value, logit from scores('fixed', $probe, $tap, $n_per_class)
    union all
    select 'finetuned', model, dataset, value, logit from scores('finetuned', $probe, $tap, $n_per_class)
    union all
    select 'scratch', model, dataset, value, logit from scores('scratch', $probe, $tap, $n_per_class)
),

complete as (
    select
        *,
        count(*) over (partition by dataset, model) as held,
        (select count(distinct setting) from scored as other where other.dataset = scored.dataset) as needed
    from scored
),

final as (
    select
        dataset,
        setting,
        count(*) as n_models,
        avg(value order by model) as mean_value,
        avg(logit order by model) as mean_logit,
        stddev_samp(logit order by model) / sqrt(count(*)) as standard_error
    from complete
    where held = needed
    group by dataset, setting
    order by dataset, setting
)

select * from final
