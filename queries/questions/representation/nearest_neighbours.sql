-- Which images are most like one image, to a model?
--
-- The search is exact, by the cosine of the stored features as they are, over all splits of the dataset, without the
-- image itself. Features that are all 0 have no direction: such an image has no neighbours, and is the last neighbour
-- of every other, with similarity -1. The features of one model on one dataset are read whole: 2 GB for a million
-- images of 1,024 in float16.
--
-- Grain: one row per neighbour, the k nearest.
-- Columns:
--   place  1 is nearest; ties by split and index
--   dataset  name
--   model  name
--   split  train, val or test: where the neighbour is
--   index  its position there
--   similarity  cosine of the two images' features, 1 is nearest
--   label  class index; null when the dataset is multi-label
--   label_name  class, or classes, of the neighbour
--   source  path or row that it came from
--   sample_id  content hash
-- Parameters:
--   model = NULL::VARCHAR  name; NULL: the first by name
--   dataset = NULL::VARCHAR  name; NULL: the first by name of those that the model has seen
--   split = 'test'  of the image that is asked about
--   index = 0  its position there
--   k = 10  neighbours
--   tap = 'penultimate'  layer that the features come from
-- Example: probestore query nearest_neighbours -p dataset=digits -p index=3 -p k=5

-- What is given is compared in each SELECT, so that features of no other model and dataset are listed and read.
with chosen as (
    select model, dataset
    from current_feature_sets
    where ($model is null or model = $model) and ($dataset is null or dataset = $dataset)
    order by model, dataset
    limit 1
),

asked as (
    select feature
    from features semi join chosen using (model, dataset)
    where tap = $tap
        and split = $split
        and index = $index
        and list_inner_product(feature, feature) > 0
        and ($model is null or model = $model)
        and ($dataset is null or dataset = $dataset)
    limit 1
),

-- The features are named in two places, not in one that both read: DuckDB would keep that one whole in memory.
nearest as (
    select
        model,
        dataset,
        split,
        index,
        sample_id,
        label,
        labels,
        list_cosine_similarity(feature, (select feature from asked)) as similarity
    from features semi join chosen using (model, dataset)
    where tap = $tap
        and not (split = $split and index = $index)
        and exists (from asked)
        and ($model is null or model = $model)
        and ($dataset is null or dataset = $dataset)
    order by similarity desc, split, index
    limit $k
),

images as (
    select dataset, split, index, sample_id, source
    from samples
    where ($dataset is null or dataset = $dataset)
),

final as (
    select
        row_number() over (order by similarity desc, split, index) as place,
        dataset,
        nearest.model,
        split,
        index,
        similarity,
        nearest.label,
        coalesce(class_name(class_names, nearest.label), class_list(class_names, nearest.labels)) as label_name,
        images.source,
        sample_id
    from nearest
    left join images using (dataset, split, index, sample_id)
    left join datasets using (dataset)
    order by place
)

select * from final
