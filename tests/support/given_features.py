"""Features and images that a test gives a store, and the cell that says that they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
from given import NOW, Row, wanted

from featurestore import FeatureStore, SampleSet, SplitSets
from featurestore.errors import Failure, StoreError
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from probes.analysis.analyse import OF_A_DATASET, OF_A_SUBJECT, Measurement, Subject, comparisons

Labels = Sequence[int] | Sequence[Sequence[int]]


def subject(model: str = "net", dataset: str = "pets", **changes: object) -> Subject:
    """The subject that `save` writes features of."""
    keys = {f"{split}_key": f"{split}-key" for split in schema.SPLITS}
    bound = {"dataset": dataset, "tap": "penultimate", "model": model, **keys}
    features = SplitSets(**{name: changes.pop(name, value) for name, value in bound.items()})
    return Subject(features=features, **({"setting": "fixed", "n_classes": 3} | changes))


def analyse(store: FeatureStore, subjects: Sequence[Subject]) -> dict[str, Failure]:
    """Compute what the store lacks of these subjects; return what failed, in words."""
    there = {table: store.names(table) for table in (*OF_A_SUBJECT, *OF_A_DATASET)}
    failures = {}
    for wanted_work in (*map(Measurement, subjects), *comparisons(subjects)):
        work = wanted_work.missing(there)
        try:
            if work:
                work.compute(store)
        except StoreError as error:
            failures[str(work)] = Failure.of(error)
    return failures


def save(
    store: FeatureStore, seen: Subject, split: str, X: Sequence[Sequence[float]], y: Labels, ids: str = ""
) -> None:
    """A complete feature set; `ids` are one letter per image, which its sample_id ends with, else its place."""
    item = seen.features.set(split)
    store.write_shard(item, 0, 1, feature_rows(split, np.asarray(X, np.float32), y, ids))
    store.finish(item, 1, {})


def feature_rows(split: str, X: np.ndarray, y: Labels, ids: str = "") -> pa.Table:
    """Rows of a feature set."""
    kind = schema.features(pa.float32(), X.shape[1])
    several = [None if isinstance(label, int) else list(label) for label in y]
    columns = {
        "sample_id": pa.array([f"id-{ids[i]}" if ids else f"{split}{i}" for i in range(len(X))]),
        "index": pa.array(range(len(X)), pa.int64()),
        "label": pa.array([label if isinstance(label, int) else None for label in y], pa.int64()),
        "labels": pa.array(several, pa.list_(pa.int64())),
        "group": pa.nulls(len(X), pa.string()),
        "feature": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), type=kind.field("feature").type),
    }
    return pa.table(columns, schema=kind)


def save_images(store: FeatureStore, split: str, y: Labels, ids: str = "", dataset: str = "pets") -> None:
    """The image table of a split, with the same sample_ids."""
    rows = [
        {
            "sample_id": f"id-{ids[i]}" if ids else f"{split}{i}",
            "index": i,
            "label": label if isinstance(label, int) else None,
            "labels": None if isinstance(label, int) else list(label),
            "source": f"{split}/{i}.png",
            "readable": True,
        }
        for i, label in enumerate(y)
    ]
    item = SampleSet(dataset, split, f"{split}-samples")
    store.write_shard(item, 0, 1, pa.Table.from_pylist(rows, schema=schema.SAMPLES))
    store.finish(item, 1, {})


def want(store: FeatureStore, *seen: Subject, study: str = "s", **changes: object) -> None:
    """Cells that read the features of these subjects."""
    rows = [
        wanted(one.features.model, one.features.dataset, study=study)
        | asdict(one.features)
        | {"setting": one.setting}
        | changes
        for one in seen
    ]
    for row in rows:
        row["cell"] = "/".join([row["cell"], row["tap"], row["test_key"]])
    store.publish("cells", study, rows_table("cells", rows))


def dataset_record(n_classes: int = 3, *, name: str = "pets", multilabel: bool = False) -> Row:
    """A dataset whose classes are called class 0, class 1, ..."""
    known = {"n_classes": n_classes, "class_names": [f"class {k}" for k in range(n_classes)], "multilabel": multilabel}
    splits = {"n_train": 3, "n_val": 1, "n_test": 2, "train_made": "", "val_made": "", "test_made": ""}
    record = {"dataset": name, "source": "x", "metric": "top1", "fingerprint": "f", "recorded_at": NOW}
    return record | known | splits
