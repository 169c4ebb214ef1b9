-- How many images state an EXIF orientation other than upright?
--
-- Their pixels are stored turned or mirrored. The field's frameworks take pixels as they are stored, and so does a
-- dataset with `exif = "ignore"`, the default; with `exif = "apply"` they are turned before the network sees them. Images
-- that were stored before orientations were read have none.
--
-- Grain: one row per dataset, split and orientation.
-- Columns:
--   dataset  name
--   split  train, val or test
--   orientation  2 to 8: 3 is upside down, 6 and 8 lie on a side; 2, 4, 5 and 7 are mirrored
--   n_turned  images that state it
--   n_images  images of the split
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query turned_images

with final as (
    select * from turned_images($dataset)
    order by dataset, list_position(['train', 'val', 'test'], split), orientation
)

select * from final
