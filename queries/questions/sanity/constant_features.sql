-- Which feature sets have rows that are all equal, or nearly so?
--
-- Such a network was shown nothing: images that all decode to black, weights that are dead, a tap before which nothing
-- depends on the image. Every probe measures on at most 512 images of each split, evenly spaced: `spread`, the median
-- distance of an image's features from the middle of all (the median of each feature), over the root mean square norm of
-- the features; and `equal`, the largest share of the images that have one and the same features. The smallest spread
-- and the largest share over the cells count. A result of before that was measured has neither; `probestore analyse`
-- then still finds features that are all equal.
--
-- Why 0.02: over the 45 feature sets of the demo spread is 0.37 to 0.64, over those of 1,400 photographs of Caltech-101
-- 0.74 to 0.96. A small random network that is shown pictures in a sixteenth of the grey levels has 0.018, in two grey
-- levels 0.002. Why 0.2: in the same sets no two images have equal features. A picture that stands for those that are
-- gone, or a file format that decodes to black, gives many images the same; a few equal images are no fault of features.
--
-- Grain: one row per model, dataset, setting, tap and split.
-- Columns:
--   model  name
--   dataset  name
--   setting  fixed, finetuned or scratch
--   tap  layer that the features come from
--   split  train, val or test
--   spread  median distance from the middle, over the size of the features; 0: most are equal
--   equal  largest share of the images with one and the same features, a fraction; 0: no two are equal
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   spread = 0.02::DOUBLE  at most so much, or
--   share = 0.2::DOUBLE  of the images at least so many that have the same features
-- Example: probestore query constant_features

with final as (
    select model, dataset, setting, tap, split, spread, equal
    from constant_features($dataset, $spread, $share)
    order by dataset, model, setting, tap, list_position(['train', 'val', 'test'], split)
)

select * from final
