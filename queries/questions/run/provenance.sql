-- With which versions, when and in how much time were the results computed?
--
-- The question `imports` says the same of imported results, and `made_with` of the features.
--
-- Grain: one row per set of package versions.
-- Columns:
--   versions  JSON: package and version
--   n_cells  cells computed with them
--   seconds  choosing, refitting and scoring, summed over cells
--   first  when the first was computed, UTC
--   last  when the last was computed, UTC
-- Example: probestore query provenance --format json

with cells_computed as (
    select cell, any_value(versions) as versions, max(seconds) as seconds, max(created_at) as created_at
    from results
    where origin is null
    group by cell
),

final as (
    select
        versions,
        count(*) as n_cells,
        sum(seconds order by cell) as seconds,
        min(created_at) as first,
        max(created_at) as last
    from cells_computed
    group by versions
    order by last desc, versions
)

select * from final
