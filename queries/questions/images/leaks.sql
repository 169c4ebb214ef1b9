-- Which test images have a copy among the training images?
--
-- Exact copies have the same bytes: SQL finds them in `samples`. Near ones (saved again, cropped a little, mirrored,
-- the next frame) are what a Python function finds in the features and puts into the table `neighbours`: run
-- `probestore analyse` first. There, images are compared by the cosine of their features less the mean of the training
-- images; the formula is in probes/analysis/geometry.py. Validation images count as training images.
--
-- Why 0.9: of 150 photographs of Caltech-101 that were mirrored, or saved again as JPEG at quality 30, two networks
-- found 94% or more of each at 0.9, and 33% to 59% at 0.95. Of 1,020 of its test images, half of five networks name 11
-- at 0.9: the same picture, the next frame, or one sign drawn again; of 1,500 of CIFAR-10, none. What is alike by
-- nature, such as two handwritten digits, may pass too: look.
--
-- Grain: one row per test image that has a copy, exact or, of each training image that enough models name, near.
-- Columns:
--   dataset  name
--   index  of the test image: position in the test split
--   source  path or row that it came from
--   near_split  train or val: where the copy is
--   near_index  its position there; of several exact copies, the first
--   near_source  path or row that it came from
--   kind  exact or near
--   n_found  models whose most similar training image it is, with at least the similarity asked for
--   n_models  models that looked
--   similarity  mean of theirs, 1 is equal; null where no model looked
--   same_label  whether the two have the same label, or labels
--   sample_id  content hash of the test image
--   near_sample_id  content hash of the copy
-- Parameters:
--   setting = 'fixed'  of the networks: fixed, finetuned or scratch
--   tap = 'penultimate'  layer that the features come from
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   similarity = 0.9::DOUBLE  of a near copy at least
--   share = 0.5::DOUBLE  of the models that have looked, at least so many must find it
-- Example: probestore query leaks -p similarity=0.95

with models_that_looked as (
    select dataset, count(*) as n_models
    from representations
    where setting = $setting and tap = $tap
    group by dataset
),

readable as (
    select dataset, split, index, sample_id, label, labels, source
    from samples
    where readable and ($dataset is null or dataset = $dataset)
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
    where setting = $setting
        and tap = $tap
        and similarity >= $similarity
        and ($dataset is null or dataset = $dataset)
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
),

final as (
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
    where kind = 'exact' or n_found >= $share * n_models
    order by kind, copies.dataset, similarity desc, copies.index, near_split, near_index
)

select * from final
