-- Does a lower precision of the networks change what the probes find?
--
-- It compares cells that differ in nothing but the precision (`compute`) that their features were computed in: weights,
-- preprocessing, images, probe and options are the same. Either may be a cell of an earlier run, so the question reads
-- everything that was ever stored. To compare, run a study twice, with another `compute` in [extract]; under two names,
-- if `probestore gc` is to keep both.
--
-- Grain: one row per precision other than fp32 and cell of the slice asked for that was fitted in both.
-- Columns:
--   model  name
--   dataset  name
--   solver  empty where the probe needs none
--   seed  of the cell
--   metric  headline metric of the dataset
--   compute  bf16 or fp16
--   value  the metric in that precision, a fraction
--   fp32_value  the metric in fp32
--   difference  value less fp32_value
--   standard_errors  difference in standard errors of fp32_value (from its test images alone); null where it has none
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query precision_effect --format markdown

-- Results of an earlier version do not say what they were computed in, but a study that wants them still does.
with wanted as (
    select cell, max(compute) as compute, max(inputs_key) as inputs_key from stored_cells group by cell
),

made as (
    select
        model,
        dataset,
        solver,
        seed,
        metric,
        coalesce(results.compute, wanted.compute) as compute,
        value,
        standard_error,
        coalesce(results.inputs_key, wanted.inputs_key) as inputs_key,
        options
    from stored_results as results left join wanted using (cell)
    where headline
        and train_steps is null
        and setting = $setting
        and probe = $probe
        and tap = $tap
        and n_per_class is not distinct from $n_per_class
),

final as (
    select
        low.model,
        low.dataset,
        low.solver,
        low.seed,
        low.metric,
        low.compute,
        low.value,
        exact.value as fp32_value,
        low.value - exact.value as difference,
        (low.value - exact.value) / nullif(exact.standard_error, 0) as standard_errors
    from made as low
    join made as exact using (model, dataset, solver, seed, metric, inputs_key)
    where low.compute <> 'fp32'
        and exact.compute = 'fp32'
        and low.options is not distinct from exact.options
    order by low.model, low.dataset, low.compute, low.solver, low.seed, low.options
)

select * from final
