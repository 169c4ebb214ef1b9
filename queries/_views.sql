-- The tables of a store. Nothing else names Parquet files: database.py puts the committed files of each table into a
-- variable, whose first file has the right schema and no rows, so every view is typed on an empty store too, and has the
-- columns of this version on a store that an older one made.
--
-- stored_*   everything that was ever committed
-- the rest   what holds now. Two cells of one grain differ when the sample limit, the weights or the preprocessing
--            changed; of those only the cell that was wanted or computed last is shown, so that no query can mix them.
--            A cell that is wanted and not computed yet therefore hides its predecessor, and `coverage` says so.

-- One small file per cell or record: opening thousands of them takes longer than reading them, and a question refers to
-- these tables several times, so they are read once. The tables with many rows per cell stay on disk.
-- Columns that are newer than a file are null in it.
create table models as
from read_parquet(getvariable('models_files'), hive_partitioning = false, union_by_name = true);

create table datasets as
from read_parquet(getvariable('datasets_files'), hive_partitioning = false, union_by_name = true);

create table stored_cells as
from read_parquet(getvariable('cells_files'), hive_partitioning = false, union_by_name = true);

create table stored_results as
from read_parquet(getvariable('results_files'), hive_partitioning = false, union_by_name = true);

create table stored_failures as
from read_parquet(getvariable('failures_files'), hive_partitioning = false, union_by_name = true);

create table progress as
from read_parquet(getvariable('progress_files'), hive_partitioning = false, union_by_name = true);

create view stored_tuning as from read_parquet(getvariable('tuning_files'), hive_partitioning = false);
create view stored_predictions as from read_parquet(getvariable('predictions_files'), hive_partitioning = false);
create view stored_heads as from read_parquet(getvariable('heads_files'), hive_partitioning = false);

-- Types of partition columns are not guessed: a model may be called 001.
create view stored_features as
from read_parquet(getvariable('features_files'), hive_partitioning = true, hive_types_autocast = false);

create view stored_samples as
from read_parquet(getvariable('samples_files'), hive_partitioning = true, hive_types_autocast = false);

-- The classifiers of the weights that the models' names stand for now.
create view heads as from stored_heads semi join models using (model, model_key);

-- The image tables that the latest record of each dataset names; of a dataset split that none names, every one.
create view samples as
with named as (
    select dataset, unnest(['train', 'val', 'test']) as split, unnest([train_samples, val_samples, test_samples]) as key
    from datasets
)
from stored_samples semi join (from named where key is not null) using (dataset, split, key)
union all
from stored_samples anti join (from named where key is not null) using (dataset, split);

create table current_cells as
-- Cells of weights or of a preprocessing that the model's name no longer stands for.
with former as (
    select cell
    from (select cell, model, model_key from stored_cells union select cell, model, model_key from stored_results) made
    join models using (model)
    where made.model_key <> models.model_key
),
touched as (
    select cell, model, dataset, setting, tap, probe, solver, n_per_class, seed, wanted_at as touched_at
    from stored_cells anti join former using (cell)
    union all
    select cell, model, dataset, setting, tap, probe, solver, n_per_class, seed, created_at
    from stored_results anti join former using (cell)
)
select distinct on (model, dataset, setting, tap, probe, solver, n_per_class, seed) cell
from touched
order by touched_at desc, cell;

-- The latest wish for each current cell, whichever study made it.
create view cells as
select distinct on (cell) *
from stored_cells semi join current_cells using (cell)
order by wanted_at desc;

create view results as from stored_results semi join current_cells using (cell);
create view tuning as from stored_tuning semi join current_cells using (cell);
create view predictions as from stored_predictions semi join current_cells using (cell);

create view failures as
select distinct on (stage, model, tap, dataset, cell) *
from stored_failures
order by failed_at desc;

-- The feature sets that current cells read; of a (model, dataset, split) that no cell reads, every set.
create view current_feature_sets as
with complete as (
    select distinct
        regexp_extract(file, 'model=([^/]*)', 1) as model,
        regexp_extract(file, 'dataset=([^/]*)', 1) as dataset,
        regexp_extract(file, 'split=([^/]*)', 1) as split,
        regexp_extract(file, 'key=([^/]*)', 1) as key
    from (select unnest(getvariable('features_files')) as file)
),
wanted as (
    select model, dataset, unnest(['train', 'val', 'test']) as split, unnest([train_key, val_key, test_key]) as key
    from cells
)
from complete semi join wanted using (model, dataset, split, key)
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
