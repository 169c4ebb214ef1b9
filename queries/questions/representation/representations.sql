-- What do the features of each model look like, and how far apart do classes lie in them?
--
-- They describe the training and validation images. A Python function computes these numbers from the features and puts
-- them into the table `representations`: run `probestore analyse` first. The formulas are in
-- probes/analysis/geometry.py.
--
-- Grain: one row per dataset and model.
-- Columns:
--   dataset  name
--   model  name
--   n_images  images that were looked at
--   dim  features per image
--   effective_rank  directions that the features fill, 1 to dim: exp of the entropy of the singular values
--   participation_ratio  the same by the squares of the variances, which faint directions hardly count in
--   class_separation  1 where classes are tight and apart, about 0 where they say nothing; null when multi-label
--   within_between  variance around the class means over that of the class means; null when multi-label
-- Parameters:
--   setting = 'fixed'  of the networks: fixed, finetuned or scratch
--   tap = 'penultimate'  layer that the features come from
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query representations -p dataset=digits

with final as (
    select
        dataset,
        model,
        n_images,
        dim,
        effective_rank,
        participation_ratio,
        class_separation,
        within_between
    from representations
    where setting = $setting and tap = $tap and ($dataset is null or dataset = $dataset)
    order by dataset, model
)

select * from final
