-- Which models transfer best, and which cannot be told apart from the best?
--
-- The question compares the models and datasets that form the largest block without holes (macro `compared` in
-- shared/macros.sql); a model outside the block stands last, without a score, with the datasets that it lacks. Two
-- models are compared by the paired t-test of their log-odds over datasets; the bootstrap of the ranks draws datasets.
--
-- Grain: one row per model.
-- Columns:
--   rank  place by mean_logit, 1 is best; models that tie share the mean of their places
--   rank_low  lower end of the 95% percentile bootstrap interval of rank, over datasets; null with one dataset
--   rank_high  upper end
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
--   p  of the two-sided paired t-test against the best model; null for itself, and with one dataset
--   ties_with_best  whether it is the best, or p is above 0.05; null where there is no p
--   tie_group  1: the best and those that tie with it; of the rest, the best opens group 2, and so on; null like p
--   n_datasets  datasets compared
--   lacking  datasets compared that this model has no score on
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   seed = 0  of the bootstrap
--   replicates = 1000  of the bootstrap
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

profiles as (
    select
        row_number() over (order by rank, model) as position,
        model,
        n_datasets,
        list(logit order by dataset) as logits
    from block join ranked using (model)
    group by rank, model, n_datasets
),

best as (
    from profiles where position = 1
),

behind as (
    select
        this.model,
        paired_p(best.logits, this.logits) as p,
        list_transform(list_zip(best.logits, this.logits), lambda pair: pair[1] - pair[2]) as behind,
        t95(this.n_datasets - 1) * list_aggregate(behind, 'stddev_samp') / sqrt(this.n_datasets) as margin
    from profiles as this, best
    where this.position > 1
),

-- A model that can be told from the leader of its group goes on to the next group.
told_apart as (
    with recursive groups as (
        select 1 as tie_group, position, model, logits from profiles where n_datasets >= 2 or position = 1
        union all
        select tie_group + 1, position, model, logits
        from (select *, first_value(logits) over (order by position) as leader from groups)
        where paired_p(leader, logits) <= 0.05
    )
    select model, max(tie_group) as tie_group from groups group by model
),

draws as (
    select
        replicate,
        list_transform(range(n_datasets), lambda d: 1 + random_below(n_datasets, $seed, replicate, d)) as drawn
    from best, range($replicates) as replicates(replicate)
    where n_datasets >= 2
),

drawn_ranks as (
    select model, average_rank_within(replicate, -round(list_sum(list_select(logits, drawn)), 12)) as rank
    from draws, profiles
),

rank_intervals as (
    select model, quantile_disc(rank, 0.025) as rank_low, quantile_disc(rank, 0.975) as rank_high
    from drawn_ranks
    group by model
),

lacks as (
    select scored.model, (select list(distinct dataset order by dataset) from block) as needed, list(dataset) as held
    from scores($setting, $probe, $tap, $n_per_class) as scored
    group by scored.model
),

final as (
    select
        rank,
        rank_low,
        rank_high,
        model,
        mean_logit,
        mean_value,
        mean_rank,
        adjusted,
        standard_error,
        adjusted - t95(n_datasets - 1) * standard_error as adjusted_low,
        adjusted + t95(n_datasets - 1) * standard_error as adjusted_high,
        list_avg(behind) as behind_best,
        behind_best - margin as behind_low,
        behind_best + margin as behind_high,
        p,
        tie_group = 1 as ties_with_best,
        tie_group,
        n_datasets,
        array_to_string(list_filter(needed, lambda dataset: not list_contains(held, dataset)), ', ') as lacking
    from lacks
    left join ranked using (model)
    left join mean_places using (model)
    left join behind using (model)
    left join told_apart using (model)
    left join rank_intervals using (model)
    order by rank nulls last, model
)

select * from final
