-- Sanity: what a reader should know before the numbers. Each check is a macro and the question of the same name, whose
-- header says what its thresholds are and why; the defaults of both are the same, and a test holds them to it.
--
-- A finding is a warning where a number of the store may not mean what it seems to, and a remark where it is a fact
-- that belongs beside the numbers. All checks are about what holds now: the current cells, and the images that the
-- latest record of each dataset names.

-- ---- features and fits ---------------------------------------------------------------------------------------------

-- Grain: one row per model, dataset, setting, tap and split of which most images have nearly the same features.
create macro constant_features(the_dataset, the_spread := 0.02, the_share := 0.2) as table
with seen as (
    select
        model,
        dataset,
        setting,
        tap,
        unnest(['train', 'val', 'test']) as split,
        unnest(feature_spread) as spread,
        unnest(equal_features) as equal
    from results
    where origin is null and feature_spread is not null
    union all
    select model, dataset, setting, tap, unnest(['train', 'val']), 0.0, 1.0
    from representations
    where effective_rank is null
)
select
    model,
    dataset,
    setting,
    tap,
    split,
    min(spread) as spread,
    max(equal) as equal,
    min(spread) <= the_spread as nearly_equal
from seen
where the_dataset is null or dataset = the_dataset
group by model, dataset, setting, tap, split
having min(spread) <= the_spread or max(equal) >= the_share;

-- Grain: one row per cell that tried as many values and found the same validation metric for all.
create macro flat_tuning(the_dataset, the_n_values := 3) as table
select
    any_value(model) as model,
    any_value(dataset) as dataset,
    any_value(setting) as setting,
    any_value(tap) as tap,
    any_value(probe) as probe,
    any_value(solver) as solver,
    any_value(n_per_class) as n_per_class,
    any_value(seed) as seed,
    any_value(hyperparameter) as hyperparameter,
    count(*) as n_values,
    any_value(metric) as metric,
    min(validation) as validation
from tuning
where the_dataset is null or dataset = the_dataset
group by cell
having count(*) >= the_n_values and max(validation) - min(validation) < 1e-9;

-- The headline result of every cell that was computed here, with the validation metric at the chosen value.
-- Grain: one row per cell with a hyper-parameter.
create macro validated(the_dataset) as table
select results.*, tuning.validation, tuning.metric as tuned_metric
from results
join tuning on tuning.cell = results.cell and tuning.value = results.chosen
where headline and origin is null and (the_dataset is null or results.dataset = the_dataset);

-- The standard error is that of the difference of two shares that are equal; where the metric's own error on the test
-- images is larger, as that of a mean over rare classes, it counts for both.
-- Grain: one row per cell whose test metric is so far from the validation metric that chose its hyper-parameter.
create macro validation_gap(the_dataset, the_errors := 4, the_difference := 0.1) as table
with pooled as (
    select
        *,
        value - validation as difference,
        (n_val * validation + n_test * value) / (n_val + n_test) as share,
        greatest(
            sqrt(share * (1 - share) * (1 / n_val + 1 / n_test)),
            coalesce(nullif(standard_error, 'nan'), 0) * sqrt(1 + n_test / n_val)
        ) as standard_error_of_difference
    from validated(the_dataset)
    where tuned_metric = metric and n_val > 0 and n_test > 0 and isfinite(value) and isfinite(validation)
)
select
    model,
    dataset,
    setting,
    tap,
    probe,
    solver,
    n_per_class,
    seed,
    metric,
    validation,
    value as test,
    difference,
    difference / standard_error_of_difference as standard_errors,
    n_val,
    n_test
from pooled
where abs(difference) >= the_difference and abs(difference) >= the_errors * standard_error_of_difference;

-- Grain: one row per compared model that is so far off the line through the others.
create macro off_the_line(
    the_setting, the_probe, the_tap, the_n_per_class, the_source, the_p_holm := 0.001, the_residual := 0.5
) as table
select *
from tested_residuals(the_setting, the_probe, the_tap, the_n_per_class, the_source)
where p_holm <= the_p_holm and abs(residual) >= the_residual;

-- ---- what features were made with ---------------------------------------------------------------------------------

-- What the latest fit of each pair says of its features.
-- Grain: one row per model, dataset, setting, tap, and what features were made with.
create macro made_with(the_dataset) as table
with fitted as (
    select
        model,
        dataset,
        setting,
        tap,
        unnest(arg_max(features_made_with, (n_test > 0, created_at, cell))) as made
    from results
    where origin is null and features_made_with is not null and (the_dataset is null or dataset = the_dataset)
    group by model, dataset, setting, tap
)
select model, dataset, setting, tap, made.versions, made.device, made.fingerprint, made.n_images
from fitted;

-- Grain: one row per thing that was made with several installations, and installation. The thing is the features of a
-- model on a dataset, a model on all datasets, or all models that are compared on a dataset.
create macro mixed_versions(the_dataset) as table
with scoped as (
    select 'features' as scope, model, dataset, setting, tap, versions, device, fingerprint, n_images
    from made_with(the_dataset)
    union all
    select 'model', model, null, setting, tap, versions, device, fingerprint, sum(n_images)::bigint
    from made_with(the_dataset)
    group by model, setting, tap, versions, device, fingerprint
    union all
    select 'comparison', null, dataset, setting, tap, versions, device, null, sum(n_images)::bigint
    from made_with(the_dataset)
    group by dataset, setting, tap, versions, device
)
select
    *,
    count(*) over thing as n_installations,
    coalesce(min(fingerprint) over thing <> max(fingerprint) over thing, false) as drift
from scoped
window thing as (partition by scope, model, dataset, setting, tap)
qualify n_installations > 1;

-- ---- sizes and splits ----------------------------------------------------------------------------------------------

-- Grain: one row per dataset and split, val or test, that a score was chosen or measured on and that is small.
create macro small_splits(the_dataset, the_n_images := 50) as table
with measured as (
    select dataset, metric, min(n_val) as n_val, min(n_test) as n_test
    from headline_results
    where n_per_class is null and n_test > 0 and (the_dataset is null or dataset = the_dataset)
    group by dataset, metric
),
sizes as (
    select dataset, metric, unnest(['val', 'test']) as split, unnest([n_val, n_test]) as n_images from measured
)
select
    dataset,
    split,
    sizes.metric,
    n_images,
    n_classes,
    n_images < n_classes as below_classes,
    0.5 / sqrt(n_images) as largest_error
from sizes left join datasets using (dataset)
where n_images > 0 and (n_images < n_classes or (split = 'test' and n_images < the_n_images));

-- Grain: one row per dataset and split that its makers did not make.
create macro made_splits(the_dataset) as table
with described as (
    select
        dataset,
        unnest(['train', 'val', 'test']) as split,
        unnest([n_train, n_val, n_test]) as n_images,
        unnest([train_made, val_made, test_made]) as made
    from datasets
    where origin is null and (the_dataset is null or dataset = the_dataset)
)
select dataset, split, n_images, contains(made, 'held out') as held_out, made
from described
where contains(made, 'held out') or contains(made, 'of the source''s') or contains(made, ', less ');

-- Grain: one row per dataset and note.
create macro dataset_notes(the_dataset) as table
select dataset, generate_subscripts(notes, 1) as number, unnest(notes) as note
from datasets
where origin is null and (the_dataset is null or dataset = the_dataset);

-- ---- findings ------------------------------------------------------------------------------------------------------

-- What the checks found that read no image table.
-- Grain: one row per finding.
create macro findings_of_results(the_setting, the_probe, the_tap, the_n_per_class) as table
with constant as (
    select
        *, case when equal = 1 then 'all' when nearly_equal then 'nearly' else 'many' end as kind
    from constant_features(null)
),
tuned as (
    select dataset, count(distinct cell) as n_cells from tuning group by dataset
),
compared_cells as (
    select dataset, count(*) as n_cells from validated(null) group by dataset
),
notes as (
    select dataset, count(*) as n, arg_min(note, number) as first from dataset_notes(null) group by dataset
),
found as (
    select
        'constant_features' as question,
        'warning' as severity,
        only_one(list(model)) as model,
        dataset,
        only_one(list(split)) as split,
        format(
            'Of up to 512 images each of {}, {} the same features ({}).',
            splits_of(list(split)),
            case kind when 'all' then 'all have'
            when 'nearly' then
                format('most have nearly (median distance {:.2g} of their size)', max(spread))
            else format('up to {:.0f}% have', 100 * max(equal))
            end,
            named('model', list(model))
        ) as finding,
        null::varchar[] as arguments
    from constant
    group by dataset, kind
    union all
    select
        'flat_tuning',
        'warning',
        only_one(list(model)),
        dataset,
        'val',
        format(
            'Validation {} is {:.6g} for every value of {} that was tried, in {} of {} ({}; {}): it does not tell them apart.',
            metric,
            any_value(validation),
            some_of(list(hyperparameter)),
            count(*),
            counted(any_value(n_cells), 'tuned cell'),
            named('probe', list(probe)),
            named('model', list(model))
        ),
        null
    from flat_tuning(null) join tuned using (dataset)
    group by dataset, metric, round(validation, 9)
    union all
    select
        'validation_gap',
        'warning',
        only_one(list(model)),
        dataset,
        'test',
        format(
            'Test {} {:.3f} is {:.3f} {} validation, {:.1f} standard errors ({}, {}){}.',
            metric,
            arg_max(test, abs(standard_errors)),
            arg_max(abs(difference), abs(standard_errors)),
            case when difference < 0 then 'below' else 'above' end,
            max(abs(standard_errors)),
            arg_max(model, abs(standard_errors)),
            arg_max(probe, abs(standard_errors)),
            case when count(*) > 1 then
                format(', and so far off in {} of {}', count(*), counted(any_value(n_cells), 'cell'))
            else ''
            end
        ),
        null
    from validation_gap(null) join compared_cells using (dataset)
    group by dataset, metric, difference < 0
    union all
    select
        'off_the_line',
        'warning',
        model,
        null,
        null,
        format(
            '{} lies {:.2f} log-odds {} the line through {}: p = {:.1g} (Holm).',
            model,
            abs(residual),
            case when residual < 0 then 'below' else 'above' end,
            counted(n_models, 'model'),
            p_holm
        ),
        [
            case when the_setting <> 'fixed' then 'setting=' || the_setting end,
            case when the_probe <> 'logistic' then 'probe=' || the_probe end,
            case when the_tap <> 'penultimate' then 'tap=' || the_tap end,
            'n_per_class=' || the_n_per_class
        ]
    from off_the_line(the_setting, the_probe, the_tap, the_n_per_class, 'imagenet_top1')
    union all
    select
        'mixed_versions',
        case when bool_or(drift) then 'warning' else 'remark' end,
        only_one(list(model)),
        only_one(list(dataset)),
        null,
        case when bool_or(drift) then
            format(
                'The networks of {} give other features with one of the installations that made them than with another; '
                || '--accept-drift let that pass, or two runs wrote them at once.',
                named('model', list(model) filter (drift))
            )
        else
            format(
                '{} made with several installations (libraries, devices); as far as they say, with the same fingerprint.',
                case scope when 'features' then 'Features of one model and dataset were'
                when 'model' then 'Features of one model were'
                else 'Features that are compared were'
                end
            )
        end,
        null
    from mixed_versions(null)
    group by scope, drift
    union all
    select
        'small_splits',
        case when split = 'test' then 'warning' else 'remark' end,
        null,
        dataset,
        split,
        case when split = 'val' then format('{} for {}.', counted(n_images, 'validation image'), counted(n_classes, 'classe'))
        else
            format(
                '{} was measured on {}{}: the standard error of a share of so few is up to {:.2f}.',
                metric,
                counted(n_images, 'test image'),
                case when below_classes then format(' of {} classes', n_classes) else '' end,
                largest_error
            )
        end,
        null
    from small_splits(null)
    union all
    select
        'made_splits',
        'remark',
        null,
        dataset,
        only_one(list(split)),
        format(
            'Made here, not by the source: {}.',
            string_agg(format('{} ({})', split, made), ', ' order by list_position(['train', 'val', 'test'], split))
        ),
        null
    from made_splits(null)
    group by dataset
    union all
    select
        'superseded_results',
        'remark',
        null,
        null,
        null,
        format(
            '{} in no number: {}.',
            case when count(distinct cell) = 1 then '1 stored cell counts'
            else format('{:,} stored cells count', count(distinct cell))
            end,
            reason
        ),
        null
    from superseded_results
    group by reason
    union all
    select
        'dataset_notes',
        'remark',
        null,
        dataset,
        null,
        case when n = 1 then first else format('{}, the first: {}', counted(n, 'note'), first) end,
        null
    from notes
)
select
    question,
    severity,
    model,
    dataset,
    split,
    finding,
    asked(question, list_prepend('dataset=' || dataset, arguments)) as command
from found;
