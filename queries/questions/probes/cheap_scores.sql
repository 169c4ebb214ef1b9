-- Does a score of the features alone, at no cost, predict the probe?
--
-- Such a score (LogME, LEEP, H-score, NCE) fits nothing and sees no test image. Its values are compared over models
-- with the log-odds of the probe's headline metric. Kendall's tau-b allows for ties. Both coefficients are null below
-- three models, and where one side does not vary.
--
-- Grain: one row per score and dataset, and one per score for the mean over datasets.
-- Columns:
--   score  name
--   dataset  name, or `mean over datasets`
--   kendall  tau-b over models; in the mean, the mean of the datasets that have one
--   pearson  r over models; in the mean, the same
--   n_models  models that have both numbers; in the mean, on any dataset
--   n_datasets  datasets counted: those with a tau-b
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  the probe to predict, one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class of that probe; NULL: all of them
-- Example: probestore query cheap_scores --format markdown

with cheap as (
    select metric as score, model, dataset, avg(value order by seed, cell) as cheap
    from results
    where not headline and n_test = 0 and n_per_class is null and setting = $setting and tap = $tap
    group by score, model, dataset
),

-- Rounded, because equal numbers summed in another order may differ in the last bit and would not tie.
points as (
    select score, dataset, model, round(cheap, 12) as cheap, round(logit, 12) as logit
    from cheap join scores($setting, $probe, $tap, $n_per_class) using (model, dataset)
),

of_datasets as (
    select
        score,
        dataset,
        kendall(list(cheap order by model), list(logit order by model)) as kendall,
        pearson(cheap, logit) as pearson,
        count(*) as n_models
    from (from points order by score, dataset, model)
    group by score, dataset
),

of_scores as (
    select
        score,
        avg(kendall order by dataset) as kendall,
        avg(pearson order by dataset) as pearson,
        count(kendall) as n_datasets
    from of_datasets
    group by score
),

models_of_scores as (
    select score, count(distinct model) as n_models from points group by score
),

rows_of_both as (
    select score, dataset, kendall, pearson, n_models, (kendall is not null)::bigint as n_datasets
    from of_datasets
    union all
    select score, 'mean over datasets', kendall, pearson, n_models, n_datasets
    from of_scores join models_of_scores using (score)
),

final as (
    from rows_of_both
    order by score, dataset <> 'mean over datasets', dataset
)

select * from final
