-- Sanity: the checks that look at every image; sanity.sql says what a check and a finding are. Several of them look at
-- all images, and opening the many files of `samples` takes longer than reading them, so they are read once.

create table seen_images as
select dataset, split, index, sample_id, label, labels, label_name, readable, reason, orientation from samples;

-- The images with the classes that each shows, of one label or of several.
-- Grain: one row per dataset, split, image and class.
create macro images_of_classes(the_dataset) as table
select
    dataset,
    split,
    index,
    readable,
    reason,
    unnest(case when label is not null then [label] else coalesce(labels, []) end) as class
from seen_images
where the_dataset is null or dataset = the_dataset;

-- What a metric is where every image gets the class that most have, on the images of val and test. Null for metrics
-- of which it is not known.
-- Where so few images were scored that all of them being right would be within those errors, only what is not above it.
-- Grain: one row per cell and split, val or test, whose best score is not above it by so many standard errors.
create macro at_chance(the_dataset, the_errors := 2) as table
with counts as (
    select dataset, split, label, count(*) as n
    from seen_images
    where readable and label is not null and (the_dataset is null or dataset = the_dataset)
    group by dataset, split, label
),
shares as (
    select dataset, split, max(n) / sum(n) as most_frequent, count(*) as n_shown, sum(1 / n) as inverse_sizes
    from counts
    group by dataset, split
),
best as (
    select cell, any_value(metric) as metric, max(validation) as value from tuning group by cell
),
scored as (
    select results.* exclude (metric, value), 'val' as split, best.metric, best.value, n_val as n_images
    from results join best using (cell)
    where headline and origin is null
    union all by name
    select *, 'test' as split, n_test as n_images
    from results
    where headline and origin is null
),
placed as (
    select
        scored.*,
        case when metric = 'top1' then most_frequent
        when metric in ('mean_per_class', 'balanced_accuracy') then 1 / n_shown
        end as chance,
        case when metric = 'top1' then sqrt(chance * (1 - chance) / n_images)
        else sqrt(chance * (1 - chance) * inverse_sizes) / n_shown
        end as error_of_chance
    from scored join shares using (dataset, split)
    where n_images > 0
)
select
    model,
    dataset,
    split,
    setting,
    tap,
    probe,
    solver,
    n_per_class,
    seed,
    metric,
    value,
    chance,
    error_of_chance as standard_error,
    n_images
from placed
where value <= chance or (value <= chance + the_errors * error_of_chance and chance + the_errors * error_of_chance < 1);

-- Grain: one row per dataset, split and class that no readable image of the split has.
create macro missing_classes(the_dataset) as table
with named as (
    select dataset, class_names, unnest(range(n_classes)) as class
    from datasets
    where n_classes is not null and (the_dataset is null or dataset = the_dataset)
),
there as (
    select distinct dataset, split from seen_images
),
shown as (
    select dataset, split, class, count(*) filter (readable) as n_readable, count(*) as n_images
    from images_of_classes(the_dataset)
    group by dataset, split, class
)
select
    dataset,
    split,
    class,
    class_name(class_names, class) as class_name,
    coalesce(n_images, 0) as n_unreadable
from named
join there using (dataset)
left join shown using (dataset, split, class)
where coalesce(n_readable, 0) = 0;

-- Grain: one row per dataset, split and class with an unreadable image, and one per split for all of its images.
create macro unreadable_by_class(the_dataset) as table
with counted as (
    select
        dataset,
        split,
        class,
        count(*) as n_images,
        count(*) filter (not readable) as n_unreadable,
        mode(reason order by reason) as reason
    from images_of_classes(the_dataset)
    group by dataset, split, class
    union all
    select dataset, split, null, count(*), count(*) filter (not readable), mode(reason order by reason)
    from seen_images
    where the_dataset is null or dataset = the_dataset
    group by dataset, split
)
select
    counted.dataset,
    split,
    class,
    class_name(class_names, class) as class_name,
    n_images,
    n_unreadable,
    n_unreadable / n_images as share,
    reason
from counted left join datasets using (dataset)
where n_unreadable > 0;

-- Files with the same bytes. Those that cannot be read are left out: many are empty.
-- Grain: one row per image whose bytes occur more than once in its dataset.
create macro equal_images(the_dataset) as table
with repeated as (
    select dataset, sample_id
    from seen_images
    where readable and (the_dataset is null or dataset = the_dataset)
    group by dataset, sample_id
    having count(*) > 1
),
occurrences as (
    select
        dataset,
        sample_id,
        split,
        index,
        label_name,
        coalesce(label::varchar, list_sort(labels)::varchar, '') as labelled,
        coalesce(class_name(class_names, label), label_name, label::varchar, class_list(class_names, labels),
            labels::varchar) as labels
    from seen_images semi join repeated using (dataset, sample_id)
    left join datasets using (dataset)
    where readable
)
select
    * exclude (labelled, label_name),
    count(*) over of_bytes as n_copies,
    len(list(distinct labelled) over of_bytes) as n_labels,
    list(distinct split) over of_bytes as splits,
    len(list(distinct labelled) over of_split) > 1 as labels_differ_inside
from occurrences
window
    of_bytes as (partition by dataset, sample_id),
    of_split as (partition by dataset, sample_id, split);

-- Grain: one row per dataset and split with images that state another EXIF orientation than upright, and orientation.
create macro turned_images(the_dataset) as table
select dataset, split, orientation, n_turned, n_images
from (
    select dataset, split, orientation, count(*) as n_turned, sum(count(*)) over (partition by dataset, split) as n_images
    from seen_images
    where the_dataset is null or dataset = the_dataset
    group by dataset, split, orientation
)
where orientation between 2 and 8;

-- ---- findings ------------------------------------------------------------------------------------------------------

-- What the checks found that read the image tables.
-- Grain: one row per finding.
create macro findings_of_images() as table
with scored as (
    select dataset, count(*) as n_cells from results where headline and origin is null group by dataset
),
sizes as (
    select dataset, count(*) filter (split = 'test') as n_test from seen_images group by dataset
),
equal as (
    select
        dataset,
        sample_id,
        count(*) as n_files,
        any_value(n_labels) > 1 as other_labels,
        list(distinct split) filter (labels_differ_inside) as differ_inside,
        any_value(splits) as splits,
        count(*) filter (split = 'train') as n_train,
        count(*) filter (split = 'val') as n_val,
        count(*) filter (split = 'test') as n_test
    from equal_images(null)
    group by dataset, sample_id
),
conflicts as (
    select
        dataset,
        count(*) as n,
        sum(n_files) as n_files,
        count(*) filter (list_contains(differ_inside, 'train')) as in_train,
        count(*) filter (list_contains(differ_inside, 'val')) as in_val,
        count(*) filter (list_contains(differ_inside, 'test')) as in_test,
        count(*) filter (differ_inside is null) as across
    from equal
    where other_labels
    group by dataset
),
repeats as (
    select
        dataset,
        count(*) as n,
        sum(n_files) as n_files,
        count(*) filter (n_train > 1) as in_train,
        count(*) filter (n_val > 1) as in_val,
        count(*) filter (n_test > 1) as in_test,
        count(*) filter (n_train > 0 and n_val > 0) as across
    from equal
    where not other_labels
    group by dataset
),
leaked as (
    select dataset, sum(equal.n_test) as n, any_value(sizes.n_test) as n_test
    from equal join sizes using (dataset)
    where equal.n_test > 0 and (n_train > 0 or n_val > 0)
    group by dataset
),
unreadable as (
    select
        dataset,
        sum(n_unreadable) filter (class is null) as n,
        bool_or(share >= 0.1 and n_unreadable >= 3) as concentrated,
        arg_max(
            format('{} of {} of class {} in {}: {}', n_unreadable, n_images, coalesce(class_name, class::varchar), split, reason),
            (share, n_unreadable)
        ) filter (class is not null) as worst
    from unreadable_by_class(null)
    group by dataset
),
images as (
    select dataset, count(*) as n_images from seen_images group by dataset
),
turned as (
    select dataset, only_one(list(split)) as split, sum(n_turned) as n, splits_of(list(split)) as splits
    from turned_images(null)
    group by dataset
),
found as (
    select
        'at_chance' as question,
        'warning' as severity,
        only_one(list(model)) as model,
        dataset,
        split,
        format(
            '{} {} cannot be told from chance in {} of {} ({}; {}): at most {:.3f}, where one class for all images gives {:.3f}, with a '
                || 'standard error of {:.3f}.',
            case split when 'val' then 'Validation' else 'Test' end,
            metric,
            count(*),
            counted(any_value(n_cells), 'cell'),
            named('probe', list(probe)),
            named('model', list(model)),
            max(value),
            arg_max(chance, value),
            arg_max(standard_error, value)
        ) as finding,
        null::varchar[] as arguments
    from at_chance(null) join scored using (dataset)
    group by dataset, split, metric
    union all
    select
        'conflicting_labels',
        'warning',
        null,
        dataset,
        case when across = 0 then only_one(list_filter([
            case when in_train > 0 then 'train' end,
            case when in_val > 0 then 'val' end,
            case when in_test > 0 then 'test' end
        ], lambda split: split is not null)) end,
        format(
            '{} under several labels, byte for byte ({}): {}.',
            case when n = 1 then '1 image occurs' else format('{:,} images occur', n) end,
            counted(n_files, 'file'),
            concat_ws(
                ', ',
                case when in_train > 0 then format('{:,} inside train', in_train) end,
                case when in_val > 0 then format('{:,} inside val', in_val) end,
                case when in_test > 0 then format('{:,} inside test', in_test) end,
                case when across > 0 then format('{:,} across splits', across) end
            )
        ),
        null
    from conflicts
    union all
    select
        'leaks',
        case when n >= 0.01 * n_test then 'warning' else 'remark' end,
        null,
        dataset,
        'test',
        format('{:,} of {} are, byte for byte, among the training and validation images.', n::bigint, counted(n_test, 'test image')),
        null
    from leaked
    union all
    select
        'repeated_images',
        'remark',
        null,
        dataset,
        null,
        format(
            '{} more than once under one label, byte for byte ({}): {}.',
            case when n = 1 then '1 image occurs' else format('{:,} images occur', n) end,
            counted(n_files, 'file'),
            concat_ws(
                ', ',
                case when in_train > 0 then format('{:,} inside train', in_train) end,
                case when in_val > 0 then format('{:,} inside val', in_val) end,
                case when in_test > 0 then format('{:,} inside test', in_test) end,
                case when across > 0 then format('{:,} in both train and val', across) end
            )
        ),
        null
    from repeats
    where in_train + in_val + in_test + across > 0
    union all
    select
        'missing_classes',
        case when split <> 'val' and count(*) >= 0.1 * any_value(n_classes) then 'warning' else 'remark' end,
        null,
        dataset,
        split,
        format(
            '{} of {:,} classes {} no readable {} image: {}.',
            count(*),
            any_value(n_classes),
            case when count(*) = 1 then 'has' else 'have' end,
            split,
            some_of(list(coalesce(class_name, class::varchar)))
        ),
        null
    from missing_classes(null) join datasets using (dataset)
    group by dataset, split
    union all
    select
        'unreadable_by_class',
        case when concentrated then 'warning' else 'remark' end,
        null,
        dataset,
        null,
        format('{:,} of {} cannot be read{}.', n::bigint, counted(n_images, 'image'), coalesce('; ' || worst, '')),
        null
    from unreadable join images using (dataset)
    union all
    select
        'turned_images',
        'remark',
        null,
        dataset,
        split,
        format(
            '{:,} of {} state an EXIF orientation other than upright, in {}: their pixels are stored turned or mirrored.',
            n::bigint,
            counted(n_images, 'image'),
            splits
        ),
        null
    from turned join images using (dataset)
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
