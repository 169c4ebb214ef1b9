-- On which datasets is one model better than another, image by image?
--
-- One model is compared with each other one that was scored on the same dataset, by the predictions of both for the
-- same test images, which are matched by sample_id and index. Every test swaps the two models' predictions of an image
-- or does not, which makes no difference if the models are equally good, and asks how often the result is as far from
-- equality as the one found. With top-1 accuracy that is the exact McNemar test. With mean per-class accuracy an image
-- weighs 1 / images of its class. With 11-point mAP the test is on the share of classes that are told rightly (scores
-- above 0.5, or above 0 where they are no probabilities). Swaps are drawn, and p is (1 + those as far) / (1 + drawn),
-- so at least 1 / (1 + replicates); where all images that count weigh the same, p is exact. These numbers do not say
-- how much the models would vary from one training run to another.
--
-- Of several seeds, the lowest of each model is compared; of several solvers, the one that ran last.
--
-- Grain: one row per dataset and other model.
-- Columns:
--   dataset  name
--   model  the model that is compared: the parameter, or the best of the leaderboard
--   other  the model that it is compared with
--   metric  headline metric of the dataset
--   value  of the model, a fraction
--   other_value  of the other model, a fraction
--   difference  value less other_value
--   n_images  test images that both have a prediction for; null where there is no test
--   only_model  of these, those that the model alone gets right (mAP: gets more classes of right); null likewise
--   only_other  of these, those that the other model alone gets right; null likewise
--   p  two-sided; null where there is no test
--   p_holm  p with Holm's correction for the other models compared on this dataset
--   test  exact McNemar or permutation; null where there is none
--   reason  why there is no test
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   model = NULL::VARCHAR  the model to compare; NULL: the best of the leaderboard
--   other = NULL::VARCHAR  the model to compare it with; NULL: all others
--   seed = 0  of the permutations
--   replicates = 10000  permutations
-- Example: probestore query compare_models -p other=resnet50

with slice as (
    select distinct on (model, dataset)
        cell,
        model,
        dataset,
        metric,
        value,
        case when probabilistic is false then 0 else 0.5 end as threshold
    from headline_results
    where setting = $setting
        and probe = $probe
        and tap = $tap
        and n_per_class is not distinct from $n_per_class
    order by seed, created_at desc, solver
),

compared_model as (
    select coalesce($model, (
        select model
        from model_scores($setting, $probe, $tap, $n_per_class)
        order by round(mean_logit, 12) desc, model
        limit 1
    )) as model
),

pairs as (
    select
        this.dataset,
        this.model,
        other.model as other,
        this.metric,
        other.metric as other_metric,
        this.value,
        other.value as other_value,
        this.cell,
        other.cell as other_cell
    from slice as this
    join slice as other using (dataset)
    where this.model = (from compared_model)
        and other.model <> this.model
        and ($other is null or other.model = $other)
),

cells_needed as (
    select cell, dataset, model, metric, threshold
    from slice
    where cell in (select cell from pairs union all select other_cell from pairs)
        and metric in ('top1', 'mean_per_class', 'map_11point')
),

-- How many classes each model has right, of the one or of all that an image can have. Scores are read for the latter.
judged as (
    select
        single_label.dataset,
        single_label.model,
        sample_id,
        index,
        label,
        (predicted = label)::smallint as n_right
    from predictions join (from cells_needed where metric <> 'map_11point') as single_label using (cell)
    union all
    select
        multi_label.dataset,
        multi_label.model,
        sample_id,
        index,
        null,
        len(list_filter(scores, lambda score, k: (score > threshold) = list_contains(labels, k - 1)))::smallint
    from predictions join (from cells_needed where metric = 'map_11point') as multi_label using (cell)
),

-- Grouped and not joined: joined to itself, every prediction would be kept in memory.
images as (
    select
        dataset,
        label,
        any_value(n_right) filter (model = (from compared_model)) as n_right,
        list({'model': model, 'n_right': n_right}) as judgements
    from judged
    group by dataset, sample_id, index, label
),

model_images as (
    select dataset, count(n_right) as n_model_images from images group by dataset
),

-- Images of a class and how many more classes of them the model has right: -1, 0 or 1 if they have one label.
outcomes as (
    select dataset, of_one.model as other, label, n_right - of_one.n_right as difference, count(*) as n
    from (select dataset, label, n_right, unnest(judgements) as of_one from images)
    where of_one.model <> (from compared_model)
    group by all
),

counts as (
    select
        dataset,
        other,
        sum(n)::bigint as n_other_images,
        coalesce(sum(n) filter (difference is not null), 0)::bigint as n_images,
        coalesce(sum(n) filter (difference > 0), 0)::bigint as only_model,
        coalesce(sum(n) filter (difference < 0), 0)::bigint as only_other
    from outcomes
    group by dataset, other
),

matched as (
    select
        pairs.*,
        counts.* exclude (dataset, other),
        case
            when metric <> other_metric then 'scored by ' || metric || ' and ' || other_metric
            when metric not in ('top1', 'mean_per_class', 'map_11point') then 'no test for ' || metric
            when coalesce(n_model_images, 0) = 0 then 'no predictions of ' || model
            when n_other_images is null then 'no predictions of ' || other
            when n_images < n_model_images or n_images < n_other_images then 'the test images differ'
        end as reason
    from pairs
    left join counts using (dataset, other)
    left join model_images using (dataset)
),

-- Images that weigh the same, and are right for the model more often (ahead) or less often (behind).
weights as (
    select
        dataset,
        other,
        case when metric = 'mean_per_class' then 1 / of_class else abs(outcomes.difference)::double end as weight,
        coalesce(sum(n) filter (outcomes.difference > 0), 0)::bigint as ahead,
        coalesce(sum(n) filter (outcomes.difference < 0), 0)::bigint as behind
    from (select *, sum(n) over (partition by dataset, other, label) as of_class from outcomes) as outcomes
    join matched using (dataset, other)
    where outcomes.difference <> 0 and reason is null
    group by all
),

-- A coin is tossed for each of these images. The coins lie in blocks of 62, the bits of a whole number.
blocks as (
    select
        dataset,
        other,
        weight,
        least(62, ahead + behind - 62 * block) as coins,
        row_number() over (partition by dataset, other order by weight, block) as position
    from (select *, unnest(range((ahead + behind + 61) // 62)) as block from weights)
),

statistics as (
    select
        dataset,
        other,
        count(*) as n_weights,
        abs(sum(weight * (ahead - behind) order by weight)) as statistic
    from weights
    group by dataset, other
),

drawn_tests as (
    select
        dataset,
        other,
        any_value(statistic) as statistic,
        sum(weight * coins order by position) as total,
        list(weight order by position) as weights,
        list((1::bigint << coins) - 1 order by position) as masks
    from blocks join statistics using (dataset, other)
    where n_weights > 1
    group by dataset, other
),

tosses as (
    select
        replicate,
        list_transform(
            range((select max(len(masks)) from drawn_tests)),
            lambda k: (md5_number_lower(concat_ws('/', $seed, replicate, k)) >> 2)::bigint
        ) as bits
    from range($replicates) as replicates(replicate)
),

-- As far from 0 but for rounding: sums of the same weights in another order differ in their last bits.
permuted as (
    select
        dataset,
        other,
        (1 + count(*) filter (
            abs(2 * list_dot_product(
                weights, list_transform(masks, lambda mask, k: bit_count(bits[k] & mask)::double)
            ) - total) >= statistic - 1e-9
        )) / (1 + count(*)) as p
    from drawn_tests, tosses
    group by dataset, other
),

tested as (
    select
        matched.*,
        case
            when reason is not null then null
            when coalesce(n_weights, 0) <= 1 then mcnemar_p(only_model, only_other)
            else p
        end as p
    from matched
    left join statistics using (dataset, other)
    left join permuted using (dataset, other)
),

final as (
    select
        dataset,
        model,
        other,
        metric,
        value,
        other_value,
        value - other_value as difference,
        case when reason is null then n_images end as n_images,
        case when reason is null then only_model end as only_model,
        case when reason is null then only_other end as only_other,
        p,
        holm(p, list(p) over (partition by dataset)) as p_holm,
        case when reason is null then case metric when 'top1' then 'exact McNemar' else 'permutation' end end as test,
        reason
    from tested
    order by dataset, other_value desc, other
)

select * from final
