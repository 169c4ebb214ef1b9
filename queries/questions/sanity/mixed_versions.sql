-- What was made with several versions of libraries, or on several devices?
--
-- The features of one model on one dataset, a model on all of its datasets, or all models that are compared on a dataset.
-- Most versions change nothing: installations with equal fingerprints of a model give the same features for the trial
-- images, within the bound of its arithmetic. Others are refused unless --accept-drift lets them pass, which is drift.
--
-- Grain: one row per such thing and installation.
-- Columns:
--   scope  features (of a model on a dataset), model (on all datasets) or comparison (of all models on a dataset)
--   model  name; null for a comparison
--   dataset  name; null for a model on all datasets
--   setting  fixed, finetuned or scratch
--   tap  layer that the features come from
--   versions  JSON: library and version; null where the features do not say
--   device  cpu, or the card and its CUDA
--   fingerprint  digest of what the network gives for the trial images; null for a comparison, or where it is not known
--   n_images  images of train, val and test whose features it made
--   n_installations  number of rows of the thing
--   drift  whether the fingerprints of the thing differ
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query mixed_versions

with final as (
    select * from mixed_versions($dataset)
    order by
        list_position(['features', 'model', 'comparison'], scope),
        model,
        dataset,
        setting,
        tap,
        n_images desc,
        versions,
        device,
        fingerprint
)

select * from final
