-- Which classes does no readable image of a split have?
--
-- A score says nothing about a class without a test image, and a choice by validation takes no account of a class
-- without a validation image. The finding of `sanity` is a warning where a tenth of the classes or more have no training
-- or no test image, since so large a part of a mean over classes is then not there. Fewer are a remark: of 700 test images
-- of the 102 classes of Caltech-101, drawn with equal shares, one class of a single image has none.
--
-- Grain: one row per dataset, split and class.
-- Columns:
--   dataset  name
--   split  train, val or test
--   class  index
--   class_name  name; null where it is not known
--   n_unreadable  images of the class in the split that could not be read
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query missing_classes

with final as (
    select * from missing_classes($dataset)
    order by dataset, list_position(['train', 'val', 'test'], split), class
)

select * from final
