-- What questions about single images share.

-- What each model said of the test images, in one slice of the results. A model answers once per image: with several
-- seeds, the smallest counts; with several solvers, the one that ran last. `correct` is, where an image has several
-- labels, whether the class of the highest score is one of them. An image without a label is left out: nothing that is
-- said of it is right or wrong.
-- Grain: one row per model, dataset and test image.
create macro predicted(the_setting, the_probe, the_tap, the_n_per_class) as table
with slice as (
    select distinct on (model, dataset) cell
    from headline_results
    where setting = the_setting
        and probe = the_probe
        and tap = the_tap
        and n_per_class is not distinct from the_n_per_class
    order by seed, created_at desc, solver
)
select
    model,
    dataset,
    sample_id,
    index,
    label,
    labels,
    predicted,
    probability,
    coalesce(predicted = label, list_contains(labels, predicted)) as correct
from predictions semi join slice using (cell)
-- The slice once more: whole files are skipped by it.
where setting = the_setting
    and probe = the_probe
    and tap = the_tap
    and (label is not null or len(labels) > 0);

-- Name of a class by its index; null where the names are not known.
create macro class_name(class_names, class) as class_names[class + 1];

-- Names of several classes; null where there are no labels, or the names are not known.
create macro class_list(class_names, classes) as
    nullif(array_to_string(list_transform(classes, lambda class: class_names[class + 1]), ', '), '');
