-- What are the features of the images of a few classes?
--
-- The answer is for a picture of the features, such as figure 4. The classes, and the images of each, are drawn by a
-- hash of the seed, so they are the same for every model. Multi-label images have no class and are left out.
--
-- Grain: one row per image drawn.
-- Columns:
--   model  name
--   dataset  name
--   label  class index
--   label_name  name of the class; null where it has none
--   index  position in the split; joins to `samples`
--   feature  the features, a list of floats
-- Parameters:
--   model = NULL::VARCHAR  name; NULL: the first of those with features of the dataset
--   dataset = NULL::VARCHAR  name; NULL: the first of those with features
--   split = 'test'  train, val or test
--   tap = 'penultimate'  layer that the features come from
--   classes = 10  at most so many
--   per_class = 60  at most so many images of each
--   seed = 0  of the draw
-- Example: probestore query features_of_classes -p dataset=flowers -p classes=5 --format csv

-- What is given is compared in each SELECT, so that features of no other model and dataset are listed and read.
with chosen_dataset as (
    select coalesce(
        $dataset, (select min(dataset) from features where $dataset is null and split = $split and tap = $tap)
    ) as dataset
),

of_dataset as (
    select distinct model
    from features semi join chosen_dataset using (dataset)
    where $model is null
        and ($dataset is null or dataset = $dataset)
        and split = $split
        and tap = $tap
        and label is not null
),

of_model as (
    from features semi join chosen_dataset using (dataset)
    where ($dataset is null or dataset = $dataset)
        and ($model is null or model = $model)
        and model = coalesce($model, (select min(model) from of_dataset))
        and split = $split
        and tap = $tap
        and label is not null
),

drawn_classes as (
    select label
    from (select distinct label from of_model)
    order by md5(concat_ws('/', $seed, label)), label
    limit $classes
),

numbered as (
    select
        model,
        dataset,
        label,
        index,
        row_number() over (partition by label order by md5(concat_ws('/', $seed, label, index)), index) as place
    from of_model semi join drawn_classes using (label)
),

class_names as (
    select label, any_value(label_name order by label_name) as label_name
    from samples
    where split = $split
        and ($dataset is null or dataset = $dataset)
        and dataset = (select any_value(dataset) from of_model)
    group by label
),

final as (
    select model, dataset, label, label_name, index, of_model.feature
    from numbered
    join of_model using (model, dataset, label, index)
    left join class_names using (label)
    where place <= $per_class
    order by label, index
)

select * from final
