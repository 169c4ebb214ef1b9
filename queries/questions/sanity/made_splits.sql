-- Which splits were made here, and not by the source?
--
-- Images were held out from the training images where the source has no such split, or a part of the source's images was
-- drawn. Numbers of such splits do not compare with those that others published. Imports are left out.
--
-- Grain: one row per dataset and split.
-- Columns:
--   dataset  name
--   split  train, val or test
--   n_images  images, before unreadable ones are left out
--   held_out  whether it was held out from the source's training images
--   made  how it was made
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query made_splits

with final as (
    select * from made_splits($dataset)
    order by dataset, list_position(['train', 'val', 'test'], split)
)

select * from final
