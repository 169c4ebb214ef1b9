-- Which test images do most models get wrong?
--
-- Look at these images: they are mislabelled, ambiguous, or show a weakness that the models have in common. With
-- several labels per image, a model is wrong where the class of its highest score is none of them; images without a
-- label are left out. Of several seeds, the smallest counts.
--
-- Grain: one row per dataset and image, the k hardest of each dataset.
-- Columns:
--   dataset  name
--   place  1 is hardest: by wrong, then by probability, then by index
--   index  position in the test split
--   sample_id  content hash
--   source  path or row that the image came from
--   label  class index; null when the dataset is multi-label
--   label_name  class, or classes, of the image; null where names are not known
--   wrong  share of models that are wrong
--   n_models  models that saw it
--   mistaken_for  class index that most of the wrong models say
--   mistaken_for_name  that class
--   mistaken  share of the wrong models that say so
--   probability  mean over models of the label's probability; null where the scores are no probabilities
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   k = 20  images per dataset
-- Example: probestore query hardest_images -p dataset=animals -p k=5

with answers as (
    from predicted($setting, $probe, $tap, $n_per_class) where $dataset is null or dataset = $dataset
),

-- Decimals, because their sum does not depend on its order.
images as (
    select
        dataset,
        index,
        sample_id,
        any_value(label) as label,
        count(*) as n_models,
        count(*) filter (not correct) as n_wrong,
        avg(probability::decimal(12, 9)) as probability
    from answers
    group by dataset, index, sample_id
),

hardest as (
    select
        *,
        row_number() over (
            partition by dataset order by n_wrong / n_models desc, probability nulls last, index, sample_id
        ) as place
    from images
    where n_wrong > 0
    qualify place <= $k
),

mistakes as (
    select dataset, index, sample_id, predicted, any_value(labels) as labels, count(*) as n
    from answers semi join hardest using (dataset, index, sample_id)
    where not correct
    group by dataset, index, sample_id, predicted
),

most as (
    select distinct on (dataset, index, sample_id) * from mistakes order by n desc, predicted
),

sources as (
    select distinct on (dataset, index, sample_id) dataset, index, sample_id, source
    from samples semi join hardest using (dataset, index, sample_id)
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
        n_wrong / n_models as wrong,
        n_models,
        predicted as mistaken_for,
        class_name(class_names, predicted) as mistaken_for_name,
        n / n_wrong as mistaken,
        probability
    from hardest
    join most using (dataset, index, sample_id)
    left join sources using (dataset, index, sample_id)
    left join datasets using (dataset)
    order by dataset, place
)

select * from final
