-- Which splits are too small for what is measured on them?
--
-- A test split with fewer images than classes leaves classes out; a metric on few test images has a large standard
-- error; a validation split with fewer images than classes chooses for those that it has. Unreadable images are not
-- counted. Of several cells of a dataset the one with the fewest images counts, few-shot tasks left aside.
--
-- Why 50: the standard error of an accuracy is then up to 0.07, and models that differ by less than 0.14 cannot be told
-- apart. The demo has 240 test images, Flowers-102 6,149; of the twelve datasets of the paper, none has fewer than 1,880.
--
-- Grain: one row per dataset and split, val or test.
-- Columns:
--   dataset  name
--   split  val or test
--   metric  headline metric
--   n_images  readable images
--   n_classes  classes; null where they are not known
--   below_classes  whether there are fewer images than classes
--   largest_error  the standard error of a share of so many images, at most
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   n_images = 50  test images; fewer are few
-- Example: probestore query small_splits -p n_images=100

with final as (
    select * from small_splits($dataset, $n_images)
    order by dataset, split, metric
)

select * from final
