-- How does one change of the training recipe change source accuracy and transfer?
--
-- Two models are compared if they have the same architecture and their recipes (label_smoothing, dropout,
-- auxiliary_head, bn_scale, augmentation, pretraining_data) differ in exactly one thing. A value that is not known
-- equals no other: a model whose recipe is not known in full is in no pair. Differences are the second model's less the
-- first's, and the second is the one with the larger number, with `true`, or later in the alphabet. The p-values are
-- not corrected for the number of pairs.
--
-- Grain: one row per two models that differ in one recipe column and were scored on at least one dataset in common.
-- Columns:
--   architecture  of both
--   changed  the recipe column
--   model  first model
--   value  its value in that column
--   other  second model
--   other_value  its value
--   source_difference  of the source metric on its axis (log-odds for accuracies); null where it is not known of both
--   transfer_difference  of the log-odds of the headline metric, mean over the datasets that both were scored on
--   standard_error  of transfer_difference, over datasets; null with one dataset
--   p  two-sided paired t-test over datasets; null with one dataset
--   n_datasets  datasets compared
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric of the models
-- Example: probestore query recipe_effects -p setting=finetuned

with recipes as (
    select
        model,
        architecture,
        map {
            'label_smoothing': label_smoothing::varchar,
            'dropout': dropout::varchar,
            'auxiliary_head': auxiliary_head::varchar,
            'bn_scale': bn_scale::varchar,
            'augmentation': augmentation,
            'pretraining_data': pretraining_data
        } as recipe
    from models
),

compared_recipes as (
    select
        this.architecture,
        this.model,
        other.model as other,
        this.recipe as recipe,
        other.recipe as other_recipe,
        list_filter(map_keys(this.recipe), lambda name: this.recipe[name] <> other.recipe[name]) as changed,
        list_filter(map_keys(this.recipe), lambda name: this.recipe[name] = other.recipe[name]) as kept
    from recipes as this
    join recipes as other using (architecture)
    where this.model <> other.model
),

-- Numbers are compared as numbers, and each two models are taken once.
pairs as (
    select
        architecture,
        changed[1] as changed,
        model,
        recipe[changed[1]] as value,
        other,
        other_recipe[changed[1]] as other_value
    from compared_recipes
    where len(changed) = 1
        and len(kept) = 5
        and coalesce(try_cast(value as double) < try_cast(other_value as double), value < other_value)
),

scored as (
    from scores($setting, $probe, $tap, $n_per_class)
),

differences as (
    select pairs.*, first.dataset, second.logit - first.logit as difference
    from pairs
    join scored as first using (model)
    join scored as second on second.model = pairs.other and second.dataset = first.dataset
),

transfer as (
    select
        architecture,
        changed,
        model,
        value,
        other,
        other_value,
        avg(difference order by dataset) as transfer_difference,
        -- Equal differences may not be equal in the last bit.
        round(stddev_samp(difference order by dataset), 12) as deviation,
        count(*) as n_datasets
    from differences
    group by architecture, changed, model, value, other, other_value
),

sources as (
    from source_metrics where source = $source
),

final as (
    select
        architecture,
        changed,
        model,
        transfer.value,
        other,
        other_value,
        other_source.x - own_source.x as source_difference,
        transfer_difference,
        deviation / sqrt(n_datasets) as standard_error,
        paired_t_p(round(transfer_difference, 12), deviation, n_datasets) as p,
        n_datasets
    from transfer
    left join sources as own_source using (model)
    left join sources as other_source on other_source.model = transfer.other
    order by changed, architecture, model, other
)

select * from final
