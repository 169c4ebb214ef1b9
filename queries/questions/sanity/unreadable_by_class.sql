-- Are unreadable images concentrated in a class or a split?
--
-- Images that are missing at random cost precision; those of one class or split change what is measured. A finding is a
-- warning where three images or more, and a tenth or more, of a class in a split, or of a split, cannot be read: a tenth
-- of the images of a class moves its accuracy by up to 0.1. `skipped_images` lists them all.
--
-- Grain: one row per dataset, split and class with an unreadable image, and one without a class for the split.
-- Columns:
--   dataset  name
--   split  train, val or test
--   class  index; null: all images of the split
--   class_name  name; null where it is not known
--   n_images  images
--   n_unreadable  those that could not be read
--   share  n_unreadable as a fraction of n_images
--   reason  the most frequent reason
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query unreadable_by_class

with final as (
    select * from unreadable_by_class($dataset)
    order by dataset, list_position(['train', 'val', 'test'], split), class nulls first
)

select * from final
