-- With which versions, when and in how much time were the results computed?
--
-- The question `imports` says the same of imported results, and `made_with` of the features.
--
-- Grain: one row per set of package versions.
-- Columns:
--   versions  JSON: package and version, of the fits
--   n_cells  cells computed with them
--   seconds  choosing, refitting and scoring, summed over cells
--   first  when the first was computed, UTC
--   last  when the last was computed, UTC
--   features  installations that made their features, each with its number of cells; null where features do not say
-- Example: probestore query provenance --format json

with cells_computed as (
    select
        cell,
        any_value(versions) as versions,
        max(seconds) as seconds,
        max(created_at) as created_at,
        any_value(features_made_with) as made
    from results
    where origin is null
    group by cell
),

installations as (
    select versions, made.versions || ', ' || made.device as installation, count(distinct cell) as n_cells
    from (select cell, versions, unnest(made) as made from cells_computed)
    where made.versions is not null
    group by all
),

features as (
    select versions, string_agg(n_cells || ': ' || installation, '; ' order by n_cells desc, installation) as features
    from installations
    group by versions
),

final as (
    select
        versions,
        count(*) as n_cells,
        sum(seconds order by cell) as seconds,
        min(created_at) as first,
        max(created_at) as last,
        any_value(features) as features
    from cells_computed
    left join features using (versions)
    group by versions
    order by last desc, versions
)

select * from final
