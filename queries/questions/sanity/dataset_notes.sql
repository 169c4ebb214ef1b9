-- What was left out of the datasets, or decided about them?
--
-- The notes that a run tells: files, folders, rows and classes of a source that were left out or used for a reason that
-- their name does not say. `probestore data check` shows the whole inventory.
--
-- Grain: one row per dataset and note.
-- Columns:
--   dataset  name
--   number  of the note
--   note  in words
-- Parameters:
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query dataset_notes

with final as (
    select * from dataset_notes($dataset)
    order by dataset, number
)

select * from final
