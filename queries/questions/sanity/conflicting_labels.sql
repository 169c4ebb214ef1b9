-- Which images occur under several labels, inside a split or across splits?
--
-- Compared are the bytes of images that could be read. At least one of the labels is wrong, or the images show several
-- classes. A test image whose training copy has another label will be counted as wrong for a probe that has learned it.
-- There is no threshold: two labels for the same bytes contradict one another.
--
-- Grain: one row per image whose bytes have another label elsewhere in its dataset; copies follow one another.
-- Columns:
--   dataset  name
--   sample_id  content hash: equal bytes, equal id
--   split  train, val or test
--   index  position in the split
--   labels  name of its class, or of its classes
--   source  path or row that the image came from
--   n_copies  images of the dataset with these bytes, this one included
--   n_labels  different labels, or sets of labels, that these bytes have
--   inside  whether they have several inside this split
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query conflicting_labels

with final as (
    select dataset, sample_id, split, index, labels, source, n_copies, n_labels, labels_differ_inside as inside
    from equal_images($dataset)
    join (select dataset, split, index, sample_id, source from samples) using (dataset, split, index, sample_id)
    where n_labels > 1
    order by dataset, sample_id, list_position(['train', 'val', 'test'], split), index
)

select * from final
