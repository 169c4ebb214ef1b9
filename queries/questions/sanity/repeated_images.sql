-- Which images occur more than once under one label?
--
-- Compared are the bytes of images that could be read. A training image that occurs twice counts twice. Test images among
-- the training images are what `leaks` is about: where they are a hundredth of the test images or more, the finding of
-- `sanity` is a warning, because accuracy may be too high by as much. Of 5,085 images of Caltech-101 none occurs twice,
-- and of the demo's 1,800 none.
--
-- Grain: one row per image whose bytes occur again in its dataset; copies follow one another.
-- Columns:
--   dataset  name
--   sample_id  content hash: equal bytes, equal id
--   split  train, val or test
--   index  position in the split
--   labels  name of its class, or of its classes
--   source  path or row that the image came from
--   n_copies  images of the dataset with these bytes, this one included
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query repeated_images

with final as (
    select dataset, sample_id, split, index, labels, source, n_copies
    from equal_images($dataset)
    join (select dataset, split, index, sample_id, source from samples) using (dataset, split, index, sample_id)
    where n_labels = 1
    order by dataset, sample_id, list_position(['train', 'val', 'test'], split), index
)

select * from final
