-- Which images could not be read, and why?
--
-- Grain: one row per unreadable image.
-- Columns:
--   dataset  name
--   split  train, val or test
--   index  position in the split
--   source  path or row that the image came from
--   reason  why it could not be read
-- Example: probestore query skipped_images --format csv

with final as (
    select dataset, split, index, source, reason
    from samples
    where not readable
    order by dataset, split, index
)

select * from final
