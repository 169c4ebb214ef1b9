-- What do the stored features look like?
--
-- The question reads every feature of the store: this takes seconds for a small store, minutes for millions of images.
--
-- Grain: one row per model, dataset, split and key of the features in use.
-- Columns:
--   model  name
--   dataset  name
--   split  train, val or test
--   key  of the feature set
--   rows  images
--   dim  values per image
--   mean_norm  mean L2 norm of an image's features
--   zero_share  share of values that are exactly 0
-- Example: probestore query feature_summary

with images as (
    select
        model,
        dataset,
        split,
        key,
        index,
        len(feature) as dim,
        sqrt(list_inner_product(feature, feature)::double) as norm,
        len(list_filter(feature, lambda x: x = 0)) as zeros
    from features
),

final as (
    select
        model,
        dataset,
        split,
        key,
        count(*) as rows,
        max(dim) as dim,
        avg(norm order by index) as mean_norm,
        sum(zeros) / sum(dim) as zero_share
    from images
    group by model, dataset, split, key
    order by model, dataset, split, key
)

select * from final
