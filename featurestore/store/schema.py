"""Every table of a store: its columns, what a row stands for, and what a record of it is kept for.

`SETS` and `TABLES` are the one place that says so: checks, garbage and SQL go by them, and the documents are made from
them. Imports nothing of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

FORMAT_VERSION = 2
"""Version of the format of a store, which store.json names. It is raised when an older probestore would misread what
this one writes; a new column or a new table is no reason. Keys do not depend on it: see `layout.KEY_VERSION`."""

FORMAT_WITHOUT_PACKS = 1
"""That of a store that has no packs yet. A probestore that does not know them reads it, too."""

SPLITS = ("train", "val", "test")

SETTINGS = {"fixed": "fixed features", "finetuned": "fine-tuned", "scratch": "trained from scratch"}
"""Value of the column `setting` -> the name of such networks in a text."""


def _table(*columns: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=not rest or rest[0]) for name, kind, *rest in columns])


_REQUIRED = False  # the `nullable` flag of a column that always has a value

SAMPLES = _table(
    ("sample_id", pa.string(), _REQUIRED),  # content hash: equal bytes, equal id
    ("index", pa.int64(), _REQUIRED),  # position in the split; joins to features
    ("label", pa.int64()),  # class index; null when the dataset is multi-label
    ("labels", pa.list_(pa.int64())),  # class indices; null unless the dataset is multi-label
    ("label_name", pa.string()),
    ("group", pa.string()),
    ("width", pa.int64()),  # pixels; null when unreadable
    ("height", pa.int64()),
    ("source", pa.string(), _REQUIRED),  # path or row that the image came from
    ("readable", pa.bool_(), _REQUIRED),
    ("reason", pa.string()),  # why it is unreadable
    ("orientation", pa.int64()),  # EXIF: 2 to 8 is turned or mirrored; null: none is stated, or the file is older
    ("mode", pa.string()),  # of its pixels, as Pillow calls it; null when unreadable, or the file is older
)

MODELS = _table(
    ("model", pa.string(), _REQUIRED),
    ("origin", pa.string()),  # null: a study used it; else the name of the import that says what it says
    ("backbone", pa.string()),  # family:name, e.g. timm:resnet50.a1_in1k; an import may not know
    ("architecture", pa.string()),  # the network without its weights; null: what the backbone's name says
    ("weights", pa.string()),  # pretrained, none (random initialisation) or a file; an import may not know
    ("weights_digest", pa.string()),
    ("seed", pa.int64()),  # of the random initialisation
    ("feature_dim", pa.int64()),
    ("input_size", pa.int64()),  # pixels
    ("params", pa.int64()),  # parameters up to the penultimate layer
    ("imagenet_top1", pa.float64()),  # the source metric, a fraction
    ("source_metrics", pa.map_(pa.string(), pa.float64())),  # others, by name
    ("label_smoothing", pa.float64()),
    ("dropout", pa.float64()),
    ("auxiliary_head", pa.bool_()),
    ("bn_scale", pa.bool_()),
    ("augmentation", pa.string()),
    ("pretraining_data", pa.string()),
    ("preprocessing", pa.string()),  # the record, as JSON
    ("model_key", pa.string()),  # hash of all that can change its features: weights, preprocessing, arithmetic
    ("recorded_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

DATASETS = _table(
    ("dataset", pa.string(), _REQUIRED),
    ("origin", pa.string()),  # null: a study used it; else the name of the import that says what it says
    # Of an import, any of the following may be null.
    ("source", pa.string()),  # family:name, e.g. image_folder:/data/pets
    ("n_classes", pa.int64()),
    ("class_names", pa.list_(pa.string())),
    ("n_train", pa.int64()),  # images, before unreadable ones are left out; of an import with the validation images
    ("n_val", pa.int64()),
    ("n_test", pa.int64()),
    ("metric", pa.string()),  # the headline metric
    ("best_known", pa.float64()),  # the best value of it that was published before, a fraction; of imports only
    ("multilabel", pa.bool_()),
    ("group_column", pa.string()),
    ("train_made", pa.string()),  # in words, e.g. "the source's train split, 2000 of 50000, stratified, seed 0"
    ("val_made", pa.string()),
    ("test_made", pa.string()),
    ("notes", pa.list_(pa.string())),  # what was left out of it or decided, in words; null in older files
    ("fingerprint", pa.string()),
    ("train_samples", pa.string()),  # keys of its sample sets
    ("val_samples", pa.string()),
    ("test_samples", pa.string()),
    ("recorded_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

# What names a cell, in the order of the grain of `results`.
_CELL = (
    ("cell", pa.string(), _REQUIRED),  # key: hash of everything that can change the numbers
    ("model", pa.string(), _REQUIRED),
    ("dataset", pa.string(), _REQUIRED),
    ("setting", pa.string(), _REQUIRED),  # fixed, finetuned or scratch
    ("tap", pa.string(), _REQUIRED),
    ("probe", pa.string(), _REQUIRED),
    ("solver", pa.string(), _REQUIRED),  # empty for probes that need none
    ("n_per_class", pa.int64()),  # null: all training images
    ("seed", pa.int64(), _REQUIRED),
)

CELLS = _table(
    *_CELL,
    ("options", pa.string()),  # what else decides the numbers, as JSON: grids, scaling
    ("study", pa.string(), _REQUIRED),
    ("model_key", pa.string()),
    ("compute", pa.string()),  # fp32, bf16 or fp16: what the features are computed in
    ("inputs_key", pa.string()),  # hash of all else that the features come from
    ("train_key", pa.string(), _REQUIRED),  # keys of the feature sets that the cell reads
    ("val_key", pa.string(), _REQUIRED),
    ("test_key", pa.string(), _REQUIRED),
    ("wanted_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
    ("study_file", pa.string()),  # path of the study file, or the command, that wants it; null in older files
    ("made", pa.bool_()),  # whether its results were there when the run ended; null until then, and in older files
)

# A wish that a later version of its study has not: what it led to is garbage that was wanted once.
DROPPED_CELLS = _table(
    *((field.name, field.type, field.nullable) for field in CELLS),
    ("dropped_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

_MADE_WITH = pa.struct(
    [
        ("versions", pa.string()),  # JSON: library -> version; null where the features do not say
        ("device", pa.string()),
        ("fingerprint", pa.string()),  # digest of what the network gives for trial images; null: an earlier version
        ("n_images", pa.int64()),
    ]
)

RESULTS = _table(
    *_CELL,
    ("metric", pa.string(), _REQUIRED),
    ("headline", pa.bool_(), _REQUIRED),  # the dataset's own metric
    ("options", pa.string()),  # what else decided the numbers, as JSON
    ("origin", pa.string()),  # null: computed here; else the name of the import
    ("train_steps", pa.int64()),  # of a point of a training curve: how many steps its network was trained; else null
    ("probabilistic", pa.bool_()),  # whether the scores are probabilities; null where none were made, or in old stores
    ("model_key", pa.string()),  # joins to the weights and preprocessing that were used; null for imported results
    ("compute", pa.string()),  # fp32, bf16 or fp16: what the features were computed in
    ("inputs_key", pa.string()),  # hash of all else that they come from: equal where only the precision differs
    ("value", pa.float64(), _REQUIRED),  # fractions for accuracies; nats for nll
    ("standard_error", pa.float64()),
    ("n_train", pa.int64()),  # readable images used: train, validation, test; an import may only know the last
    ("n_val", pa.int64()),
    ("n_test", pa.int64(), _REQUIRED),  # 0 for a score of the features alone
    ("hyperparameter", pa.string()),  # its name, e.g. l2
    ("chosen", pa.float64()),  # its chosen value
    ("at_grid_edge", pa.bool_()),
    ("ties_by", pa.string()),  # what decided among equal metrics: loss; null: the strongest, in older results
    ("refitted", pa.bool_()),  # whether the final fit used the validation images, too; null in older results
    ("replaced", pa.string()),  # why these numbers hold no more and the cell was fitted again; null: they hold
    ("converged", pa.bool_()),
    ("n_iter", pa.int64()),  # of the final fit, refitted on train + validation
    ("objective", pa.float64()),
    ("gradient_norm", pa.float64()),
    ("duality_gap", pa.float64()),  # relative to the objective
    # Of train, val and test, in this order; null where it was not measured, as in older files and for imported results.
    ("feature_spread", pa.list_(pa.float64())),  # how far apart the features of the images lie; 0: all are the same
    ("equal_features", pa.list_(pa.float64())),  # largest share of the images that have one and the same features
    # Digests of what the numbers rest on; null where there is none, as in older files and for imported results.
    ("features_digests", pa.list_(pa.string())),  # of the feature sets of train, val and test, in this order
    # What the features that were read were made with, and of how many images; null in older files and imported results.
    ("features_made_with", pa.list_(_MADE_WITH)),
    ("predictions_digest", pa.string()),  # the seal of the file of predictions
    ("tuning_digest", pa.string()),  # of the rows of tuning, without their seconds
    ("seconds", pa.float64()),  # choosing, refitting and scoring; null for imported results
    ("versions", pa.string(), _REQUIRED),  # JSON: package -> version
    ("created_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

TUNING = _table(
    *_CELL,
    ("hyperparameter", pa.string(), _REQUIRED),
    ("value", pa.float64(), _REQUIRED),
    ("metric", pa.string(), _REQUIRED),
    ("validation", pa.float64(), _REQUIRED),  # the metric on the validation split
    ("converged", pa.bool_()),
    ("n_iter", pa.int64()),
    ("objective", pa.float64()),  # on the training split
    ("gradient_norm", pa.float64()),
    ("duality_gap", pa.float64()),
    ("seconds", pa.float64()),
    ("loss", pa.float64()),  # on the validation split; it decides among equal metrics; null in older files
    ("loss_kind", pa.string()),  # cross_entropy, in nats, or squared_error
)

PREDICTIONS = _table(
    *_CELL,
    ("sample_id", pa.string(), _REQUIRED),
    ("index", pa.int64(), _REQUIRED),
    ("label", pa.int64()),  # null when multi-label
    ("labels", pa.list_(pa.int64())),
    ("predicted", pa.int64(), _REQUIRED),  # the class with the highest score
    ("probability", pa.float64()),  # of the label; null when multi-label, or when the scores are no probabilities
    ("top5", pa.list_(pa.int64()), _REQUIRED),
    ("scores", pa.list_(pa.float32()), _REQUIRED),  # per class, in class order; probabilities for logistic probes
)

FAILURES = _table(
    ("study", pa.string(), _REQUIRED),
    ("stage", pa.string(), _REQUIRED),  # dataset, model, extract or probe
    ("model", pa.string()),  # null: every model
    ("tap", pa.string()),  # null: every tap
    ("dataset", pa.string()),  # null: every dataset
    ("cell", pa.string()),  # null unless the stage is probe
    ("error", pa.string(), _REQUIRED),  # exception class
    ("message", pa.string(), _REQUIRED),
    ("failed_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
    ("key", pa.string()),  # hash of what was tried: while it is the same, it would fail again
)

HEADS = _table(
    ("model", pa.string(), _REQUIRED),
    ("model_key", pa.string(), _REQUIRED),
    ("source_class", pa.int64(), _REQUIRED),  # index among the classes that the weights were trained on
    ("weight", pa.list_(pa.float32()), _REQUIRED),  # feature_dim values
    ("bias", pa.float32(), _REQUIRED),  # logit = weight · feature + bias
)

FINGERPRINTS = _table(
    ("model", pa.string(), _REQUIRED),
    ("model_key", pa.string(), _REQUIRED),
    ("tap", pa.string(), _REQUIRED),
    ("fingerprint", pa.list_(pa.float64()), _REQUIRED),  # what the network gave for the trial images: a sketch of it
    ("versions", pa.string(), _REQUIRED),  # JSON: library -> version
    ("device", pa.string(), _REQUIRED),  # cpu, or the card and its CUDA
    ("node", pa.string(), _REQUIRED),  # that the network was loaded on
    ("accepted", pa.bool_(), _REQUIRED),  # whether it was another than those before, and --accept-drift let it count
    ("recorded_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
    ("asked_by", pa.string()),  # JSON: versions of the machine that started the run
)

PROGRESS = _table(
    ("study", pa.string(), _REQUIRED),
    ("stage", pa.string(), _REQUIRED),  # features or probes
    ("model", pa.string(), _REQUIRED),
    ("tap", pa.string(), _REQUIRED),
    ("dataset", pa.string(), _REQUIRED),
    ("split", pa.string()),  # null for probes
    ("wanted", pa.int64(), _REQUIRED),  # shards or cells
    ("done", pa.int64(), _REQUIRED),
    ("images_per_second", pa.float64()),  # of one worker, when it was measured last; null for probes
    ("updated_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

# What `probestore analyse` computes of features that belong together, in the order of its grain.
_ANALYSIS = (
    ("analysis", pa.string(), _REQUIRED),  # key: hash of everything that can change the numbers
    ("dataset", pa.string(), _REQUIRED),
    ("setting", pa.string(), _REQUIRED),  # fixed, finetuned or scratch
    ("tap", pa.string(), _REQUIRED),
    ("model", pa.string(), _REQUIRED),
)
_FEATURE_KEYS = tuple((f"{split}_key", pa.string(), _REQUIRED) for split in SPLITS)

NEIGHBOURS = _table(
    *_ANALYSIS,
    *_FEATURE_KEYS,
    ("sample_id", pa.string(), _REQUIRED),  # the test image
    ("index", pa.int64(), _REQUIRED),
    ("near_split", pa.string(), _REQUIRED),  # train or val: the training image that is most like it
    ("near_sample_id", pa.string(), _REQUIRED),  # equal to sample_id: the same bytes
    ("near_index", pa.int64(), _REQUIRED),
    ("similarity", pa.float64(), _REQUIRED),  # cosine of their features, less the mean of the training images
    ("same_label", pa.bool_(), _REQUIRED),  # or the same labels, where there are several
    ("created_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

REPRESENTATIONS = _table(
    *_ANALYSIS,
    *_FEATURE_KEYS,
    ("n_images", pa.int64(), _REQUIRED),  # training and validation images that were looked at
    ("dim", pa.int64(), _REQUIRED),  # features per image
    ("effective_rank", pa.float64()),  # null where all images have the same features, as the next
    ("participation_ratio", pa.float64()),
    ("class_separation", pa.float64()),  # null when multi-label, as the next
    ("within_between", pa.float64()),
    ("seconds", pa.float64(), _REQUIRED),
    ("created_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)

SIMILARITIES = _table(
    *_ANALYSIS,
    ("other", pa.string(), _REQUIRED),  # a model after `model` in the alphabet
    ("test_key", pa.string(), _REQUIRED),
    ("other_test_key", pa.string(), _REQUIRED),
    ("n_images", pa.int64(), _REQUIRED),  # test images that were looked at
    ("cka", pa.float64()),  # debiased linear CKA; null where a model gives all images the same features
    ("created_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)


IMPORTS = _table(
    ("origin", pa.string(), _REQUIRED),
    ("added_to", pa.string(), _REQUIRED),  # results, models or datasets
    ("command", pa.string(), _REQUIRED),  # as it is typed into a shell, without the store
    ("imported_at", pa.timestamp("us", tz="UTC"), _REQUIRED),
)


KNOWN_SETS = _table(
    ("set_id", pa.string(), _REQUIRED),  # hash of the set's folder, and of whether the row tells of an overflow
    ("state", pa.string(), _REQUIRED),  # complete; overflowed: float16 cannot hold its values; unfinished: neither
    ("kind", pa.string(), _REQUIRED),  # features or samples
    ("model", pa.string()),  # null for samples, as the next
    ("tap", pa.string()),
    ("dataset", pa.string(), _REQUIRED),
    ("split", pa.string(), _REQUIRED),
    ("key", pa.string(), _REQUIRED),
    # Of a set that is complete; null else.
    ("n_shards", pa.int64()),
    ("n_rows", pa.int64()),
    ("n_bytes", pa.int64()),  # of the files of its shards
    ("parts_digest", pa.string()),  # of the files that its manifest names; equal to that in results' features_digests
    ("samples_key", pa.string()),  # of the images that features are of; null for samples, or where nothing says so
    ("completed_at", pa.timestamp("us", tz="UTC")),  # time of change of the manifest
)


def features(feature_type: pa.DataType, dim: int) -> pa.Schema:
    """Return the schema of a features file: `dim` non-null values of `feature_type` (float16 or float32) per image.

    Nothing in the list is nullable, which makes a read about twice as fast.
    """
    vector = pa.list_(pa.field("element", feature_type, nullable=False), dim)
    return _table(
        ("sample_id", pa.string(), _REQUIRED),
        ("index", pa.int64(), _REQUIRED),
        ("label", pa.int64()),
        ("labels", pa.list_(pa.int64())),
        ("group", pa.string()),
        ("feature", vector, _REQUIRED),
    )


def by_name(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """Return these columns of a table, in this order, null where it lacks one: a file is older than a newer column."""
    there = dict(zip(rows.column_names, rows.columns, strict=True))
    arrays = [
        _as(there[field.name], field.type) if field.name in there else pa.nulls(len(rows), field.type)
        for field in columns
    ]
    return pa.table(arrays, schema=columns)


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == kind else column.cast(kind)  # a cast to the same type takes its time, too


@dataclass(frozen=True, kw_only=True)
class SetTable:
    """A table that is kept as sets: folders of Parquet files, one per shard, with a manifest.

    Attributes
    ----------
    schema : Schema
        Columns of its files. Features have as many values per image as their network gives; here it is one.
    row : str
        Thing that a row stands for.
    partitions : tuple of str
        Columns that the path carries.
    """

    schema: pa.Schema
    row: str
    partitions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that is kept as records: small Parquet files straight under its own folder, each published whole.

    Attributes
    ----------
    schema : Schema
        Columns. One that is newer than a file is null for its rows, so it must be nullable.
    row : str
        Thing that a row stands for.
    named_by : str
        Column that has the name of the record's file in every row.
    needed_by : {"study", "cell", "model", "features", "set"}
        Reason to keep a record: the study that wrote it, or the wanted cell, model or feature sets that it tells of.
        It is garbage once no study wants those. What tells of one set goes with it: `FeatureStore.forget_sets`.
    gathered : bool
        Whether SQL reads the records whole, from one file that a node keeps of them. Not those with many rows, of
        which a question reads some.
    imported : bool
        Whether an import can add rows, in a file of its own; see `layout.import_path`.
    packed : bool
        Whether the records of finished work are gathered into few files, packs (`featurestore.store.packs`). Not those
        that a run writes again and again.
    """

    schema: pa.Schema
    row: str
    named_by: str
    needed_by: Literal["study", "cell", "model", "features", "set"]
    gathered: bool = True
    imported: bool = False
    packed: bool = False


SETS: dict[str, SetTable] = {
    "features": SetTable(
        schema=features(pa.float32(), 1),
        row="an image seen by a model at a tap",
        partitions=("model", "tap", "dataset", "split", "key"),
    ),
    "samples": SetTable(
        schema=SAMPLES,
        row="an image of a dataset split, readable or not",
        partitions=("dataset", "split", "key"),
    ),
}
"""The tables of images, by name."""

TABLES: dict[str, Table] = {
    "models": Table(
        schema=MODELS,
        row="a model, with what is known of its weights and its training recipe; an import adds rows of its own",
        named_by="model",
        needed_by="study",
        imported=True,
        packed=True,
    ),
    "datasets": Table(
        schema=DATASETS,
        row="a dataset, with its split sizes and how they were made; an import adds rows of its own",
        named_by="dataset",
        needed_by="study",
        imported=True,
        packed=True,
    ),
    "cells": Table(
        schema=CELLS,
        row="a result that a study wants: (model, dataset, setting, tap, probe, solver, n per class, seed)",
        named_by="study",
        needed_by="study",
    ),
    "dropped_cells": Table(
        schema=DROPPED_CELLS,
        row="a cell that a study wanted once, and wants no more",
        named_by="study",
        needed_by="study",
    ),
    "results": Table(
        schema=RESULTS,
        row="a cell and a metric; an import adds rows of its own",
        named_by="cell",
        needed_by="cell",
        imported=True,
        packed=True,
    ),
    "tuning": Table(
        schema=TUNING,
        row="a cell and a hyper-parameter value that was tried",
        named_by="cell",
        needed_by="cell",
        packed=True,
    ),
    "predictions": Table(
        schema=PREDICTIONS,
        row="a cell and a test image",
        named_by="cell",
        needed_by="cell",
        gathered=False,
        packed=True,
    ),
    "failures": Table(
        schema=FAILURES,
        row="a piece of work that failed for a reason of its own (not of the machine)",
        named_by="study",
        needed_by="study",
    ),
    "imports": Table(
        schema=IMPORTS,
        row="a table that an import added rows to, with the command that did it; imports of older versions have none",
        named_by="origin",
        needed_by="study",
    ),
    "heads": Table(
        schema=HEADS,
        row="a class that a model's own linear classifier knows",
        named_by="model_key",
        needed_by="model",
        gathered=False,
    ),
    "fingerprints": Table(
        schema=FINGERPRINTS,
        row="a model, a tap and an installation that loaded the network: what it gave for the trial images",
        named_by="model_key",
        needed_by="model",
        packed=True,
    ),
    "progress": Table(
        schema=PROGRESS,
        row="a stage of a study and a feature set, or the results of a model on a dataset",
        named_by="study",
        needed_by="study",
    ),
    "neighbours": Table(
        schema=NEIGHBOURS,
        row="a test image and a model: the training image that the model finds most like it",
        named_by="analysis",
        needed_by="features",
        gathered=False,
    ),
    "representations": Table(
        schema=REPRESENTATIONS,
        row="a model on a dataset: the geometry of its features",
        named_by="analysis",
        needed_by="features",
        packed=True,
    ),
    "similarities": Table(
        schema=SIMILARITIES,
        row="two models on a dataset: how much alike their features are",
        named_by="analysis",
        needed_by="features",
        packed=True,
    ),
    "sets": Table(
        schema=KNOWN_SETS,
        row="a set of features or of images that is complete, or that float16 cannot hold; what it lacks may be there",
        named_by="set_id",
        needed_by="set",
        packed=True,
    ),
}
"""The tables of records, by name."""


def table(name: str) -> SetTable | Table:
    """Return one of `SETS` or of `TABLES`."""
    return SETS[name] if name in SETS else TABLES[name]
