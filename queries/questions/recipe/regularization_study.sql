-- Do the regularisers of source training harm transfer?
--
-- This is the table behind figures 3 and 5 of the paper. Its plain recipe has no label smoothing, no dropout and no
-- auxiliary head, and has scales in its batch norms; the study goes there in steps, from models with all four choices.
-- A model is compared with the plain one of its architecture; where there are several of these, with their mean. A
-- model whose augmentation or pretraining data are known to differ is no plain recipe of another. The answer lists the
-- compared models (macro `compared` in shared/macros.sql) whose architecture and four choices are known.
--
-- Grain: one row per model.
-- Columns:
--   architecture  of the model
--   model  name
--   bn_scale  whether batch norms have scales
--   label_smoothing  of source training, 0: none
--   dropout  of source training, 0: none
--   auxiliary_head  whether there was one in source training
--   departures  how many of the four differ from the plain recipe, 0 to 4
--   source_value  of the source metric; null where it is not known
--   mean_logit  mean over datasets of the log-odds of the headline metric
--   standard_error  of mean_logit less the mean over models, over datasets (Morey 2008); null with one dataset or model
--   source_difference  source_value less that of the plain recipe; null where either is not known
--   difference  mean_logit less that of the plain recipe; null where there is no plain recipe
--   p  of difference, two-sided paired t-test over datasets; null for plain recipes, and with one dataset
--   n_datasets  datasets compared
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric of the models
-- Example: probestore query regularization_study -p setting=finetuned

with recipes as (
    select
        models.model,
        architecture,
        bn_scale,
        label_smoothing,
        dropout,
        auxiliary_head,
        augmentation,
        pretraining_data,
        (not bn_scale)::bigint + (label_smoothing > 0)::bigint + (dropout > 0)::bigint + auxiliary_head::bigint
            as departures,
        source_metrics.value as source_value
    from models
    left join source_metrics on source_metrics.model = models.model and source = $source
    where architecture is not null and departures is not null
),

plain as (
    select
        recipes.model,
        other.model as plain,
        other.source_value as plain_source_value
    from recipes
    join recipes as other using (architecture)
    where other.departures = 0
        and recipes.departures > 0
        and coalesce(other.augmentation = recipes.augmentation, true)
        and coalesce(other.pretraining_data = recipes.pretraining_data, true)
),

block as (
    from compared($setting, $probe, $tap, $n_per_class)
),

-- The plain models of one dataset are averaged first, so that several of them weigh as one.
differences as (
    select
        own.model,
        own.dataset,
        any_value(own.logit) - avg(other.logit order by plain) as difference,
        any_value(source_value) - avg(plain_source_value order by plain) as source_difference
    from plain
    join block as own using (model)
    join block as other on other.model = plain.plain and other.dataset = own.dataset
    join recipes on recipes.model = own.model
    group by own.model, own.dataset
),

over_datasets as (
    select
        model,
        avg(difference order by dataset) as difference,
        any_value(source_difference) as source_difference,
        -- Equal differences may not be equal in the last bit.
        round(stddev_samp(difference order by dataset), 12) as deviation
    from differences
    group by model
),

final as (
    select
        architecture,
        model,
        bn_scale,
        label_smoothing,
        dropout,
        auxiliary_head,
        departures,
        source_value,
        mean_logit,
        standard_error,
        case when departures = 0 then 0 * source_value else over_datasets.source_difference end as source_difference,
        case when departures = 0 then 0 else over_datasets.difference end as difference,
        paired_t_p(round(over_datasets.difference, 12), deviation, n_datasets) as p,
        n_datasets
    from recipes
    join model_scores($setting, $probe, $tap, $n_per_class) using (model)
    left join over_datasets using (model)
    order by architecture, departures desc, bn_scale, label_smoothing desc, dropout desc, auxiliary_head desc, model
)

select * from final
