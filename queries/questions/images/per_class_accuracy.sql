-- Which classes does each model get wrong, and which class does it name instead?
--
-- Datasets with several labels per image are left out: there a class is not right or wrong, and the metric `mean_ap` of
-- `results` says how well it is found. Of several seeds, the smallest counts.
--
-- Grain: one row per dataset, model and class.
-- Columns:
--   dataset  name
--   model  name
--   class  index
--   class_name  name; null where it is not known
--   n  test images of the class
--   accuracy  share of them that the model gets right
--   confused_with  class index that it gives most often instead; null where none is wrong
--   confused_with_name  that class
--   confused  share of the class's images that get it
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   model = NULL::VARCHAR  name; NULL: every model
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query per_class_accuracy -p model=mobilenet_v2 -p dataset=digits

with counts as (
    select dataset, model, label as class, predicted, count(*) as n
    from predicted($setting, $probe, $tap, $n_per_class)
    where label is not null
        and ($model is null or model = $model)
        and ($dataset is null or dataset = $dataset)
    group by dataset, model, label, predicted
),

totals as (
    select dataset, model, class, sum(n)::bigint as n, coalesce(sum(n) filter (predicted = class), 0) as n_correct
    from counts
    group by dataset, model, class
),

confusions as (
    select distinct on (dataset, model, class) dataset, model, class, predicted as confused_with, n as n_confused
    from counts
    where predicted <> class
    order by n desc, predicted
),

final as (
    select
        dataset,
        model,
        class,
        class_name(class_names, class) as class_name,
        n,
        n_correct / n as accuracy,
        confused_with,
        class_name(class_names, confused_with) as confused_with_name,
        n_confused / n as confused
    from totals
    left join confusions using (dataset, model, class)
    left join datasets using (dataset)
    order by dataset, model, class
)

select * from final
