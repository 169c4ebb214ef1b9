-- Do two probes put the models in the same order?
--
-- Of each two probes, the models and datasets are compared that both have scored without a hole: of the sets of
-- datasets that some model completed, the one that gives the most cells, as in macro `compared` (shared/macros.sql). A
-- model's score is its mean log-odds over these. Both coefficients are null below three models, and where one probe
-- tells no models apart.
--
-- Grain: one row per two probes that have scored a model on a dataset in common.
-- Columns:
--   probe  name
--   other  name, later in the alphabet
--   spearman  rank correlation over models, ties sharing the mean of their places
--   kendall  tau-b over models
--   mean_difference  of the log-odds, other less probe, mean over models and datasets
--   same_best  whether both put the same model first; null where one puts several there
--   n_models  models compared
--   n_datasets  datasets compared
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query probe_agreement --format markdown

with probes as (
    select distinct probe from results where headline
),

scored as (
    select probe, model, dataset, logit
    from probes, scores($setting, probes.probe, $tap, $n_per_class)
),

paired as (
    select
        this.probe,
        other.probe as other,
        model,
        dataset,
        this.logit,
        other.logit as other_logit
    from scored as this join scored as other using (model, dataset)
    where this.probe < other.probe
),

held as (
    select probe, other, model, list(dataset order by dataset) as datasets from paired group by probe, other, model
),

blocks as (
    select probe, other, candidate.datasets, list(held.model) as models
    from (select distinct probe, other, datasets from held) as candidate
    join held using (probe, other)
    where list_has_all(held.datasets, candidate.datasets)
    group by probe, other, candidate.datasets
),

largest as (
    select distinct on (probe, other) *
    from blocks
    order by len(datasets) * len(models) desc, len(models) desc, datasets
),

-- Rounded, because equal scores summed in another order may differ in the last bit and would not tie.
of_models as (
    select
        probe,
        other,
        model,
        round(avg(logit order by dataset), 12) as score,
        round(avg(other_logit order by dataset), 12) as other_score,
        count(*) as n_datasets
    from paired join largest using (probe, other)
    where list_contains(datasets, dataset) and list_contains(models, model)
    group by probe, other, model
),

places as (
    select
        *,
        average_rank_within((probe, other), score) as place,
        average_rank_within((probe, other), other_score) as other_place,
        score = max(score) over (partition by probe, other) as best,
        other_score = max(other_score) over (partition by probe, other) as other_best
    from of_models
),

final as (
    select
        probe,
        other,
        pearson(place, other_place) as spearman,
        kendall(list(score order by model), list(other_score order by model)) as kendall,
        avg(other_score - score order by model) as mean_difference,
        case when count(*) filter (best) = 1 and count(*) filter (other_best) = 1 then bool_or(best and other_best) end
            as same_best,
        count(*) as n_models,
        any_value(n_datasets) as n_datasets
    from (from places order by probe, other, model)
    group by probe, other
    order by probe, other
)

select * from final
