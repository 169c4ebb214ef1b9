-- What was imported, from where and when?
--
-- Training curves are counted with the results.
--
-- Grain: one row per import that brought results.
-- Columns:
--   origin  name of the import
--   settings  of its results
--   n_results  results, a metric of a cell each
--   n_counted  of its headline results, those that count as scores: not those that were computed here too
--   n_models  models that they are of
--   n_datasets  datasets that they are on
--   imported_at  when, UTC
--   versions  JSON: package and version that imported it
-- Example: probestore query imports

with final as (
    select
        origin,
        string_agg(distinct setting, ', ' order by setting) as settings,
        count(*) as n_results,
        count(*) filter (headline and cell in (select cell from headline_results)) as n_counted,
        count(distinct model) as n_models,
        count(distinct dataset) as n_datasets,
        max(created_at) as imported_at,
        any_value(versions) as versions
    from stored_results
    where origin is not null
    group by origin
    order by origin
)

select * from final
