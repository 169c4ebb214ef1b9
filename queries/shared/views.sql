-- The tables of a store. Nothing else names Parquet files: database.py puts a pattern into a variable for each table,
-- which stands for its committed files. The first of them has the right schema and no rows, so every view is typed on an
-- empty store too, and has the columns of this version on a store that an older one made.
--
-- stored_*   everything that was ever committed, or imported
-- the rest   what holds now. Two cells of one grain differ when the sample limit, the weights or the preprocessing
--            changed; of those only the cell that was wanted or computed last is shown, so that no query can mix them.
--            A cell that is wanted and not computed yet therefore hides its predecessor, and `coverage` says so.
--            What is left out is in superseded_results, with the reason.

-- One small file per cell or record: opening thousands of them takes longer than reading them, and a question refers to
-- these tables several times, so they are read once. The tables with many rows per cell stay on disk.
-- Columns that are newer than a file are null in it. To see which columns a file has takes opening it, so files that
-- stay on disk are looked at one by one only where the store is older than some column of their table: older_TABLE says
-- so.
create table stored_models as
from read_parquet(getvariable('models_files'), hive_partitioning = false, union_by_name = true);

create table stored_datasets as
from read_parquet(getvariable('datasets_files'), hive_partitioning = false, union_by_name = true);

create table stored_cells as
from read_parquet(getvariable('cells_files'), hive_partitioning = false, union_by_name = true);

create table stored_results as
from read_parquet(getvariable('results_files'), hive_partitioning = false, union_by_name = true);

create table stored_failures as
from read_parquet(getvariable('failures_files'), hive_partitioning = false, union_by_name = true);

create table progress as
from read_parquet(getvariable('progress_files'), hive_partitioning = false, union_by_name = true);

create table dropped_cells as
from read_parquet(getvariable('dropped_cells_files'), hive_partitioning = false, union_by_name = true);

create table fingerprints as
from read_parquet(getvariable('fingerprints_files'), hive_partitioning = false, union_by_name = true);

create table sets as
from read_parquet(getvariable('sets_files'), hive_partitioning = false, union_by_name = true);

create table imports as
from read_parquet(getvariable('imports_files'), hive_partitioning = false, union_by_name = true);

create view stored_tuning as
from read_parquet(getvariable('tuning_files'), hive_partitioning = false, union_by_name = true);

create view stored_predictions as
from read_parquet(
    getvariable('predictions_files'), hive_partitioning = false, union_by_name = getvariable('older_predictions')
);

create view stored_heads as
from read_parquet(
    getvariable('heads_files'), hive_partitioning = false, union_by_name = getvariable('older_heads')
);

-- What a folder says of its files: folder_above(file, 2) is that of the file's folder, and so on up.
create macro folder_above(file, n) as split_part(split_part(file, '/', -n), '=', 2);

-- Types of partition columns are not guessed: a model may be called 001. Nor is their absence: a model may be called
-- null, which DuckDB takes for no name at all.
create view stored_features as
select * exclude (filename) replace (
    coalesce(model, folder_above(filename, 6)) as model,
    coalesce(dataset, folder_above(filename, 4)) as dataset
)
from read_parquet(
    getvariable('features_files'),
    hive_partitioning = true,
    hive_types_autocast = false,
    filename = true,
    union_by_name = getvariable('older_features')
);

create view stored_samples as
select * exclude (filename) replace (coalesce(dataset, folder_above(filename, 4)) as dataset)
from read_parquet(
    getvariable('samples_files'),
    hive_partitioning = true,
    hive_types_autocast = false,
    filename = true,
    union_by_name = getvariable('older_samples')
);

-- One row per model, of the record that a study made and those of imports. Column by column the study's value counts,
-- then that of the latest import that has one; of source_metrics, name by name. `origin` is null where there is a study's
-- record. An architecture that nobody named is what the backbone's name says before its weights.
create table models as
with merged as (
    select
        model,
        case when bool_and(origin is not null) then arg_max(origin, (recorded_at, origin)) end as origin,
        any_value(columns(* exclude (model, origin)) order by origin is not null, recorded_at desc, origin),
        list_reduce(
            list(source_metrics order by origin is null, recorded_at, origin desc)
                filter (source_metrics is not null),
            lambda earlier, later: map_concat(earlier, later)
        ) as every_source_metric
    from stored_models
    group by model
)
select * exclude (every_source_metric) replace (
    every_source_metric as source_metrics,
    coalesce(
        architecture,
        case when backbone like 'timm:%' or backbone like 'torchvision:%' then regexp_extract(backbone, ':([^./]*)', 1)
        else regexp_extract(backbone, ':(.*)', 1)
        end
    ) as architecture
)
from merged;

-- What is known of a model's quality or size on its source task, by name, and where it lies on an axis, x: the log-odds
-- of a fraction (imagenet_top1, and any other whose values are all within [0, 1]), which is moved to at most half of the
-- 50,000 images of the ImageNet validation set from either end; log10 of a size; else the value.
create view source_metrics as
with listed as (
    select
        model,
        unnest(['imagenet_top1', 'params', 'feature_dim', 'input_size']) as source,
        unnest([imagenet_top1, params::double, feature_dim::double, input_size::double]) as value
    from models
    union all
    select model, entry.key, entry.value
    from (select model, unnest(map_entries(source_metrics)) as entry from models)
),
scaled as (
    select
        *,
        source in ('params', 'feature_dim', 'input_size') as size,
        min(value) over (partition by source) >= 0 and max(value) over (partition by source) <= 1 as fraction,
        greatest(0.5 / 50000, least(1 - 0.5 / 50000, value)) as inside
    from listed
    where isfinite(value)
)
select
    model,
    source,
    value,
    case when size then (case when value > 0 then log10(value) end)
    when fraction then ln(inside / (1 - inside))
    else value
    end as x
from scaled;

-- One row per dataset, as for models.
create table datasets as
select
    dataset,
    case when bool_and(origin is not null) then arg_max(origin, (recorded_at, origin)) end as origin,
    any_value(columns(* exclude (dataset, origin)) order by origin is not null, recorded_at desc, origin)
from stored_datasets
group by dataset;

-- The classifiers of the weights that the models' names stand for now.
create view heads as from stored_heads semi join models using (model, model_key);

-- The image tables that the latest record of each dataset names; of a dataset split that none names, every one.
create view samples as
with named as (
    select dataset, unnest(['train', 'val', 'test']) as split, unnest([train_samples, val_samples, test_samples]) as key
    from datasets
)
-- One pass: the files of images are many, and opening them takes longer than reading them.
select stored_samples.*
from stored_samples left join named using (dataset, split)
where named.key is null or named.key = stored_samples.key;

-- Cells that count in no answer, whatever else is there, each with the reason.
create table former_cells as
with made as (
    select cell, model, model_key from stored_cells union select cell, model, model_key from stored_results
),

reasons as (
    select cell, 'weights or preprocessing that the model''s name no longer stands for' as reason
    from made join models using (model)
    where made.model_key <> models.model_key
    union all
    -- Its record has no side to resize to: the crop was our own, and not that of the library that the model comes from.
    select cell, 'cropped otherwise than the library that the model comes from'
    from made join models using (model, model_key)
    where json_extract_string(preprocessing, '$.geometry.resize') = 'crop'
        and json_extract(preprocessing, '$.geometry.resized') is null
    union all
    select cell, replaced from stored_results where replaced is not null
)

select cell, min(reason) as reason from reasons group by cell;

create table current_cells as
with touched as (
    select
        cell, model, dataset, setting, tap, probe, solver, n_per_class, seed, null as train_steps, null as origin,
        wanted_at as touched_at
    from stored_cells anti join former_cells using (cell)
    union all
    select cell, model, dataset, setting, tap, probe, solver, n_per_class, seed, train_steps, origin, created_at
    from stored_results anti join former_cells using (cell)
)
select distinct on (model, dataset, setting, tap, probe, solver, n_per_class, seed, train_steps, origin) cell
from touched
order by touched_at desc, cell;

-- What is stored and counts in no answer, and why: all that is in stored_results and neither in `results` nor in
-- `training_curves`.
create view superseded_results as
select stored_results.*, coalesce(reason, 'a later cell of the same kind has its place') as reason
from stored_results
anti join current_cells using (cell)
left join former_cells using (cell);

-- The latest wish for each current cell, whichever study made it.
create view cells as
select distinct on (cell) *
from stored_cells semi join current_cells using (cell)
order by wanted_at desc;

create view results as from stored_results semi join current_cells using (cell) where train_steps is null;

-- The headline results that count as scores. What was computed here counts, and nothing that was imported beside it;
-- of several imports, the latest.
create table headline_results as
from results
where headline
qualify origin is not distinct from first_value(origin) over (
    partition by model, dataset, setting, tap, probe, n_per_class
    order by origin is not null, created_at desc, origin
);

-- The points of training curves: each is the result of a run of so many steps.
create view training_curves as
from stored_results semi join current_cells using (cell) where train_steps is not null;

create view tuning as from stored_tuning semi join current_cells using (cell);
create view predictions as from stored_predictions semi join current_cells using (cell);

-- Training and validation images of the full task; null where nobody says.
create view dataset_sizes as
with described as (
    select dataset, n_train + coalesce(n_val, 0) as n_train from datasets
),
used as (
    select dataset, max(n_train + coalesce(n_val, 0)) filter (n_per_class is null) as n_train
    from results
    group by dataset
)
select dataset, coalesce(described.n_train, used.n_train) as n_train
from described full join used using (dataset);

create view failures as
select distinct on (stage, model, tap, dataset, cell) *
from stored_failures
order by failed_at desc;

-- The files of complete feature sets, and their bytes as they were listed; null where nobody listed them. The list is
-- made for the query that asks for it.
create view stored_feature_files as
select
    folder_above(file, 6) as model,
    folder_above(file, 4) as dataset,
    folder_above(file, 3) as split,
    folder_above(file, 2) as key,
    bytes
from read_parquet(getvariable('feature_list_files'), hive_partitioning = false);

-- The feature sets that current cells read, at each tap the one that was wanted last: no query can take an image for
-- two. Of a (model, dataset, split) that no cell reads, every set.
create view current_feature_sets as
with complete as (
    select distinct model, dataset, split, key from stored_feature_files
),
wanted as (
    select
        model,
        dataset,
        tap,
        unnest(['train', 'val', 'test']) as split,
        unnest([train_key, val_key, test_key]) as key,
        wanted_at
    from cells
),
latest as (
    select distinct on (model, tap, dataset, split) model, dataset, split, key
    from wanted semi join complete using (model, dataset, split, key)
    order by wanted_at desc, key
)
from complete semi join latest using (model, dataset, split, key)
union all
from complete anti join wanted using (model, dataset, split);

create view features as
from stored_features semi join current_feature_sets using (model, dataset, split, key);

-- What became of each wanted cell. A result counts more than a failure, and a failure more than nothing: a failure that
-- was overcome leaves its row behind.
create view cell_status as
with computed as (
    select distinct cell from results
),
explained as (
    select distinct on (cells.cell) cells.cell, stage, error, message, failed_at
    from cells
    join failures on
        case when failures.cell is not null then failures.cell = cells.cell
        else coalesce(failures.model, cells.model) = cells.model
            and coalesce(failures.tap, cells.tap) = cells.tap
            and coalesce(failures.dataset, cells.dataset) = cells.dataset
        end
    order by failed_at desc
)
select
    cells.*,
    case when computed.cell is not null then 'done' when explained.cell is not null then 'failed' else 'missing' end
        as status,
    stage,
    error,
    message,
    failed_at
from cells
left join computed using (cell)
left join explained using (cell);

-- ---- what `probestore analyse` has computed ------------------------------------------------------------------------

create table stored_representations as
from read_parquet(getvariable('representations_files'), hive_partitioning = false, union_by_name = true);

create table stored_similarities as
from read_parquet(getvariable('similarities_files'), hive_partitioning = false, union_by_name = true);

create view stored_neighbours as
from read_parquet(
    getvariable('neighbours_files'), hive_partitioning = false, union_by_name = getvariable('older_neighbours')
);

-- Of each model on each dataset, the feature sets that current cells read and that were analysed; where probes were
-- wanted at different times of different sets, those wanted last. An analysis ends with its row of representations.
create table current_analyses as
select distinct on (dataset, setting, tap, model)
    dataset, setting, tap, model, train_key, val_key, test_key
from cells
semi join stored_representations using (dataset, setting, tap, model, train_key, val_key, test_key)
order by wanted_at desc, train_key, val_key, test_key;

create view neighbours as
from stored_neighbours
semi join current_analyses using (dataset, setting, tap, model, train_key, val_key, test_key);

create view representations as
from stored_representations
semi join current_analyses using (dataset, setting, tap, model, train_key, val_key, test_key);

-- A pair of models is in the record of every set of models that was analysed together; its last one counts.
create view similarities as
select distinct on (dataset, setting, tap, model, other) pairs.*
from stored_similarities as pairs
semi join current_analyses using (dataset, setting, tap, model, test_key)
semi join current_analyses as others on
    others.dataset = pairs.dataset
    and others.setting = pairs.setting
    and others.tap = pairs.tap
    and others.model = pairs.other
    and others.test_key = pairs.other_test_key
order by created_at desc, analysis;
