-- Single images: macros that the questions about them share.

-- The prediction of each model for each test image, in one slice of the results. A model answers once per image: of
-- several seeds, the smallest counts; of several solvers, the one that ran last. Where an image has several labels,
-- `correct` says whether the class of the highest score is one of them. An image without a label is left out: no
-- prediction for it is right or wrong.
-- Grain: one row per model, dataset and test image.
create macro predicted(the_setting, the_probe, the_tap, the_n_per_class) as table
with slice as (
    select distinct on (model, dataset) cell
    from headline_results
    where setting = the_setting
        and probe = the_probe
        and tap = the_tap
        and n_per_class is not distinct from the_n_per_class
    order by seed, created_at desc, solver
)
select
    model,
    dataset,
    sample_id,
    index,
    label,
    labels,
    predicted,
    probability,
    coalesce(predicted = label, list_contains(labels, predicted)) as correct
from predictions semi join slice using (cell)
-- The slice once more: whole files are skipped by it.
where setting = the_setting
    and probe = the_probe
    and tap = the_tap
    and (label is not null or len(labels) > 0);

-- Name of a class by its index; null where the names are not known.
create macro class_name(class_names, class) as class_names[class + 1];

-- Names of several classes; null where there are no labels, or the names are not known.
create macro class_list(class_names, classes) as
    nullif(array_to_string(list_transform(classes, lambda class: class_names[class + 1]), ', '), '');

-- Test images that have a copy among the training and validation images; the question `leaks` says what counts as one.
-- Grain: one row per test image that has a copy, exact or, of each training image that enough models name, near.
create macro copies_in_training(the_setting, the_tap, the_dataset, the_similarity, the_share) as table
with models_that_looked as (
    select dataset, count(*) as n_models
    from representations
    where setting = the_setting and tap = the_tap
    group by dataset
),

readable as (
    select dataset, split, index, sample_id, label, labels, source
    from samples
    where readable and (the_dataset is null or dataset = the_dataset)
),

exact as (
    select distinct on (test.dataset, test.index)
        test.dataset,
        test.index,
        test.sample_id,
        near.split as near_split,
        near.index as near_index,
        near.sample_id as near_sample_id,
        test.label is not distinct from near.label
            and list_sort(test.labels) is not distinct from list_sort(near.labels) as same_label
    from readable as test
    join readable as near using (dataset, sample_id)
    where test.split = 'test' and near.split in ('train', 'val')
    order by near.split, near.index
),

-- Decimals, because their sum does not depend on its order.
found as (
    select
        dataset,
        index,
        sample_id,
        near_split,
        near_index,
        near_sample_id,
        bool_and(same_label) as same_label,
        count(distinct model) as n_found,
        avg(similarity::decimal(12, 9)) as similarity
    from neighbours
    where setting = the_setting
        and tap = the_tap
        and similarity >= the_similarity
        and (the_dataset is null or dataset = the_dataset)
    group by dataset, index, sample_id, near_split, near_index, near_sample_id
),

-- The models may name another of several equal copies.
exact_found as (
    select exact.*, coalesce(sum(n_found), 0)::bigint as n_found, max(similarity) as similarity
    from exact left join found using (dataset, index, sample_id, near_sample_id)
    group by all
),

copies as (
    select *, 'exact' as kind from exact_found
    union all by name
    select *, case when sample_id = near_sample_id then 'exact' else 'near' end as kind
    from found anti join exact using (dataset, index, sample_id)
),

sources as (
    select dataset, split, index, sample_id, any_value(source order by source) as source
    from readable
    group by dataset, split, index, sample_id
)
select
    copies.dataset,
    copies.index,
    test.source,
    near_split,
    near_index,
    near.source as near_source,
    kind,
    n_found,
    coalesce(n_models, 0) as n_models,
    similarity,
    same_label,
    copies.sample_id,
    near_sample_id
from copies
left join models_that_looked using (dataset)
left join sources as test on
    test.dataset = copies.dataset
    and test.split = 'test'
    and test.index = copies.index
    and test.sample_id = copies.sample_id
left join sources as near on
    near.dataset = copies.dataset
    and near.split = near_split
    and near.index = near_index
    and near.sample_id = near_sample_id
where kind = 'exact' or n_found >= the_share * n_models;
