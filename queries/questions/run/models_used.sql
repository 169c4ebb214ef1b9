-- Which models were used, with which weights and preprocessing?
--
-- Grain: one row per model of the store.
-- Columns:
--   model  name
--   origin  the import that named it; null: a study used it
--   backbone  family and name of the network
--   weights  pretrained, none (random initialisation) or a file
--   weights_digest  of the weights that were loaded
--   feature_dim  values per image
--   input_size  pixels
--   params  parameters up to the penultimate layer
--   imagenet_top1  source accuracy, a fraction
--   pretraining_data  what the weights were trained on
--   preprocessing  JSON
-- Example: probestore query models_used

with final as (
    select
        model,
        origin,
        backbone,
        weights,
        weights_digest,
        feature_dim,
        input_size,
        params,
        imagenet_top1,
        pretraining_data,
        preprocessing
    from models
    order by model
)

select * from final
