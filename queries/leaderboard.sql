-- Which models transfer best, and which cannot be told apart from the best?
--
-- Compared are the models and datasets that form the largest block without holes (macro `compared` in _macros.sql);
-- a model outside it is listed last, with what it lacks and no score.
--
-- Topic: comparison
-- Grain: one row per model.
-- Columns:
--   rank  place by mean_logit, 1 is best; models that tie share the mean of their places
--   model  name
--   mean_logit  mean over datasets of the log-odds of the headline metric
--   mean_value  mean over datasets of the headline metric, a fraction
--   mean_rank  mean over datasets of the place on each, ties sharing theirs
--   adjusted  mean_logit less the mean over models, log-odds
--   standard_error  of adjusted, over datasets (Morey 2008); null with one dataset or one model
--   adjusted_low  lower end of the 95% interval (Student's t) of adjusted
--   adjusted_high  upper end
--   behind_best  mean over datasets of the best model's log-odds less this one's
--   behind_low  lower end of the paired 95% interval (Student's t over datasets)
--   behind_high  upper end
--   ties_with_best  whether that interval holds 0; null where there is no interval
--   n_datasets  datasets compared
--   lacking  datasets compared that this model has no score on
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query leaderboard -p setting=finetuned

with block as (
    from compared($setting, $probe, $tap, $n_per_class)
),

places as (
    select model, dataset, logit, average_rank_within(dataset, -logit) as place from block
),

-- Rounded, because equal scores summed in another order may differ in the last bit and would not tie.
ranked as (
    select *, average_rank(-round(mean_logit, 12)) as rank from model_scores($setting, $probe, $tap, $n_per_class)
),

mean_places as (
    select model, avg(place order by dataset) as mean_rank from places group by model
),

best as (
    select model from ranked order by rank, model limit 1
),

behind as (
    select
        this.model,
        avg(top.logit - this.logit order by dataset) as behind_best,
        t95(count(*) - 1) * stddev_samp(top.logit - this.logit order by dataset) / sqrt(count(*)) as margin
    from places as this
    join places as top using (dataset)
    where top.model = (select model from best) and this.model <> top.model
    group by this.model
),

lacks as (
    select scored.model, (select list(distinct dataset order by dataset) from block) as needed, list(dataset) as held
    from scores($setting, $probe, $tap, $n_per_class) as scored
    group by scored.model
),

final as (
    select
        rank,
        model,
        mean_logit,
        mean_value,
        mean_rank,
        adjusted,
        standard_error,
        adjusted - t95(n_datasets - 1) * standard_error as adjusted_low,
        adjusted + t95(n_datasets - 1) * standard_error as adjusted_high,
        behind_best,
        behind_best - margin as behind_low,
        behind_best + margin as behind_high,
        model = (select model from best) or behind_best - margin <= 0 as ties_with_best,
        n_datasets,
        array_to_string(list_filter(needed, dataset -> not list_contains(held, dataset)), ', ') as lacking
    from lacks
    left join ranked using (model)
    left join mean_places using (model)
    left join behind using (model)
    order by rank nulls last, model
)

select * from final
