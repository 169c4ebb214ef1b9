-- Which models cannot be told apart from the best, dataset by dataset?
--
-- The best model of a dataset has its highest score (of equal ones, the first by name); every other is tested against
-- it. For top-1 this is the exact McNemar test on the images that one of the two got right and the other wrong; with
-- several seeds, of the first one's predictions. Without predictions, as for imported results, and for other metrics it
-- is a z-test with the standard errors of the two scores. That test does not know that the scores share their images,
-- and so calls fewer models worse. The tests do not count differences between training runs, and p is not corrected for
-- the number of models.
--
-- Grain: one row per dataset and model.
-- Columns:
--   dataset  name
--   model  name
--   value  the headline metric, a fraction
--   logit  its log-odds
--   best  the model with the highest score
--   behind  value of the best less this one, a fraction
--   p  two-sided; null for the best, and where no test is possible
--   test  `exact McNemar` or `unpaired z`; null where there is no p
--   ties_with_best  whether it is the best or p > 0.05; null where no test is possible
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query best_by_dataset -p setting=finetuned

with scored as (
    from scores($setting, $probe, $tap, $n_per_class)
),

bests as (
    select distinct on (dataset) dataset, model, value, standard_error
    from scored
    order by dataset, value desc, model
),

-- The cells whose predictions stand for the scores: of the first seed, by the solver that ran last.
cells_compared as (
    select distinct on (model, dataset) cell, model, dataset
    from headline_results
    where metric = 'top1'
        and setting = $setting
        and probe = $probe
        and tap = $tap
        and n_per_class is not distinct from $n_per_class
    order by model, dataset, seed, created_at desc, solver
),

right_or_wrong as (
    select model, dataset, sample_id, index, predicted = label as is_right
    from predictions
    join (select cell from cells_compared) using (cell)
    where label is not null
),

discordant as (
    select
        this.dataset,
        this.model,
        count(*) as n_images,
        count(*) filter (top.is_right and not this.is_right) as only_best,
        count(*) filter (this.is_right and not top.is_right) as only_this
    from right_or_wrong as this
    join (from right_or_wrong semi join bests using (dataset, model)) as top using (dataset, sample_id, index)
    group by this.dataset, this.model
),

tested as (
    select
        scored.*,
        bests.model as best,
        bests.value - scored.value as behind,
        case
            when scored.model = bests.model then null
            when n_images = n_test then 'exact McNemar'
            when scored.standard_error ** 2 + bests.standard_error ** 2 > 0 then 'unpaired z'
        end as test,
        case test
            when 'exact McNemar' then mcnemar_p(only_best, only_this)
            when 'unpaired z'
                then normal_p(behind / sqrt(scored.standard_error ** 2 + bests.standard_error ** 2))
        end as p
    from scored
    join bests using (dataset)
    left join discordant on discordant.dataset = scored.dataset and discordant.model = scored.model
),

final as (
    select
        dataset,
        model,
        value,
        logit,
        best,
        behind,
        p,
        test,
        model = best or p > 0.05 as ties_with_best
    from tested
    order by dataset, value desc, model
)

select * from final
