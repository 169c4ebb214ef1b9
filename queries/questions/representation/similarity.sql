-- How alike are the features of two models?
--
-- The measure is debiased linear CKA (Kornblith et al. 2019) on at most 2,000 test images: 1 for features that a
-- rotation and a scale make equal, about 0 for unrelated ones. A Python function computes it from the features and puts
-- it into the table `similarities`: run `probestore analyse` first. The formula is in probes/analysis/geometry.py.
--
-- Grain: one row per dataset and ordered pair of models, each with itself too: a matrix per dataset.
-- Columns:
--   dataset  name
--   model  name
--   other  name of the second model
--   cka  1 with itself; null where a model gives all images the same features
--   n_images  test images that were looked at
-- Parameters:
--   setting = 'fixed'  of the networks: fixed, finetuned or scratch
--   tap = 'penultimate'  layer that the features come from
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query similarity -p dataset=animals

with pairs as (
    select dataset, model, other, cka, n_images
    from similarities
    where setting = $setting and tap = $tap and ($dataset is null or dataset = $dataset)
),

both_ways as (
    from pairs
    union all
    select dataset, other, model, cka, n_images from pairs
),

diagonal as (
    select dataset, model, model, case when bool_or(cka is not null) then 1.0 end, max(n_images)
    from both_ways
    group by dataset, model
),

final as (
    from both_ways
    union all
    from diagonal
    order by dataset, model, other
)

select * from final
