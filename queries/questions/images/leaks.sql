-- Which test images have a copy among the training images?
--
-- Exact copies have the same bytes: SQL finds them in `samples`. Near copies are saved again, cropped a little,
-- mirrored, or the next frame. A Python function finds them in the features and puts them into the table `neighbours`:
-- run `probestore analyse` first. There, images are compared by the cosine of their features less the mean of the
-- training images; the formula is in probes/analysis/geometry.py. Validation images count as training images.
--
-- Why 0.9: of 150 photographs of Caltech-101 that were mirrored, or saved again as JPEG at quality 30, two networks
-- found 94% or more of each at 0.9, and 33% to 59% at 0.95. Of 1,020 of its test images, half of five networks name 11
-- at 0.9: the same picture, the next frame, or one sign drawn again; of 1,500 of CIFAR-10, none. Images that are alike
-- by nature, such as two handwritten digits, may pass too: look at them.
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

with final as (
    select * from copies_in_training($setting, $tap, $dataset, $similarity, $share)
    order by kind, dataset, similarity desc, index, near_split, near_index
)

select * from final
