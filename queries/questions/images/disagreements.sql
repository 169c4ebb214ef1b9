-- On which test images is one model right and the other wrong?
--
-- With several labels per image, a model is right where the class of its highest score is one of them; images without a
-- label are left out. Of several seeds, the smallest counts.
--
-- Grain: one row per dataset and image that one of the two gets right, the k clearest of each dataset.
-- Columns:
--   dataset  name
--   place  1 is clearest: by the difference of the label's probabilities, then by index
--   index  position in the test split
--   sample_id  content hash
--   source  path or row that the image came from
--   label  class index; null when the dataset is multi-label
--   label_name  class, or classes, of the image
--   right_model  the model that is right
--   wrong_model  the other one
--   mistaken_for  class index that the other one gives
--   mistaken_for_name  that class
--   right_probability  of the label, by the model that is right; null where scores are no probabilities
--   wrong_probability  of the label, by the other one
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   model = NULL::VARCHAR  name; NULL: the one that is right most often, as a mean over its datasets
--   other = NULL::VARCHAR  name of the second model; NULL: the one that is right most often among the others
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   k = 20  images per dataset
-- Example: probestore query disagreements -p model=mobilenet_v2 -p other=efficientnet_lite0 -p dataset=animals

with answers as (
    from predicted($setting, $probe, $tap, $n_per_class) where $dataset is null or dataset = $dataset
),

accuracies as (
    select dataset, model, (count(*) filter (correct) / count(*))::decimal(12, 9) as accuracy
    from answers
    group by dataset, model
),

ranked as (
    select model, row_number() over (order by avg(accuracy) desc, model) as place from accuracies group by model
),

first_model as (
    select coalesce($model, (select model from ranked where model is distinct from $other order by place limit 1))
        as model
),

second_model as (
    select coalesce(
        $other,
        (select model from ranked where model <> (select model from first_model) order by place limit 1)
    ) as model
),

chosen as (
    select answers.*
    from answers
    where model = (select model from first_model) or model = (select model from second_model)
),

clearest as (
    select
        dataset,
        index,
        sample_id,
        good.label,
        good.labels,
        good.model as right_model,
        bad.model as wrong_model,
        bad.predicted as mistaken_for,
        good.probability as right_probability,
        bad.probability as wrong_probability,
        row_number() over (
            partition by dataset order by good.probability - bad.probability desc nulls last, index, sample_id
        ) as place
    from chosen as good
    join chosen as bad using (dataset, index, sample_id)
    where good.correct and not bad.correct
    qualify place <= $k
),

sources as (
    select distinct on (dataset, index, sample_id) dataset, index, sample_id, source
    from samples semi join clearest using (dataset, index, sample_id)
    where split = 'test'
),

final as (
    select
        dataset,
        place,
        index,
        sample_id,
        sources.source,
        label,
        coalesce(class_name(class_names, label), class_list(class_names, labels)) as label_name,
        right_model,
        wrong_model,
        mistaken_for,
        class_name(class_names, mistaken_for) as mistaken_for_name,
        right_probability,
        wrong_probability
    from clearest
    left join sources using (dataset, index, sample_id)
    left join datasets using (dataset)
    order by dataset, place
)

select * from final
