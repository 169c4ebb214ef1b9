"""A small store in which everything agrees: images, their features, and what was fitted on them. No network runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore, SampleSet
from featurestore.store import layout, schema
from featurestore.store.feature_store import rows_table

SAMPLES = {split: SampleSet("pets", split, f"samples-{split}") for split in schema.SPLITS}
FEATURES = {split: FeatureSet("net", "pets", split, f"features-{split}") for split in schema.SPLITS}
UNREADABLE = 2  # position of the image that cannot be read
SHARDS = ((0, 4), (4, 7))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CELL = {
    "cell": "c1",
    "model": "net",
    "dataset": "pets",
    "setting": "fixed",
    "tap": "penultimate",
    "probe": "ncm",
    "solver": "",
    "seed": 0,
}


def make(uri: str) -> FeatureStore:
    """Seven images per split in two shards, one unreadable; one cell that is wanted and computed."""
    store = FeatureStore.create(uri)
    for split in schema.SPLITS:
        write_images(store, SAMPLES[split])
        write_features(store, FEATURES[split], samples=SAMPLES[split].key)
    want(store, "study")
    result = {"metric": "top1", "headline": True, "value": 0.5, "n_train": 6, "n_val": 6, "n_test": 6, "seconds": 0.1}
    row = {**CELL, **result, "versions": "{}", "created_at": datetime.now(UTC)}
    store.publish("results", "c1", rows_table("results", [row]))
    tried = {"hyperparameter": "l2", "value": 1.0, "metric": "top1", "validation": 0.5}
    store.publish("tuning", "c1", rows_table("tuning", [{**CELL, **tried}]))
    said = {"sample_id": "id0", "index": 0, "label": 0, "predicted": 1, "top5": [1, 0], "scores": [0.25, 0.75]}
    store.publish("predictions", "c1", rows_table("predictions", [{**CELL, **said}]))
    head = {"model": "net", "model_key": "weights", "source_class": 0, "weight": [0.5, 0.5], "bias": 0.0}
    store.publish("heads", "weights", rows_table("heads", [head]))
    store.save_study("study", "[study]\n")
    return store


def made_before_seals(store: FeatureStore) -> FeatureStore:
    """The same store, as an earlier version made it: nothing says that its files have seals."""
    path = Path(store.uri, layout.STORE_FILE)
    path.write_text(json.dumps({"format": "probestore", "schema_version": 1}))
    return FeatureStore.open(store.uri)


def want(store: FeatureStore, study: str, **changes: object) -> None:
    """Say that a study wants the cell."""
    keys = {f"{split}_key": FEATURES[split].key for split in schema.SPLITS}
    row = {**CELL, **keys, "study": study, "model_key": "weights", "wanted_at": NOW, **changes}
    store.publish("cells", study, rows_table("cells", [row]))


def write_images(store: FeatureStore, item: SampleSet) -> None:
    """A complete image table."""
    for shard, (start, stop) in enumerate(SHARDS):
        rows = [image(position) for position in range(start, stop)]
        store.write_shard(item, shard, len(SHARDS), pa.Table.from_pylist(rows, schema=schema.SAMPLES))
    store.finish(item, len(SHARDS), {"dataset": item.dataset, "split": item.split})


def image(position: int) -> dict[str, object]:
    """A row of the image table."""
    readable = position != UNREADABLE
    return {
        "sample_id": f"id{position}",
        "index": position,
        "label": position % 2,
        "group": f"group{position // 2}",
        "source": f"{position}.png",
        "readable": readable,
        "reason": None if readable else "truncated",
    }


def features_of(start: int, stop: int, dtype: type = np.float16) -> pa.Table:
    """Features of the readable images start..stop-1."""
    readable = [image(position) for position in range(start, stop) if position != UNREADABLE]
    X = np.random.default_rng(start).normal(size=(len(readable), 4)).astype(dtype)
    table = feature_rows(0, X)
    for name in ("sample_id", "index", "label", "group"):
        place = table.column_names.index(name)
        values = pa.array([row[name] for row in readable], table.schema.field(name).type)
        table = table.set_column(place, table.schema.field(name), values)
    return table


def write_features(store: FeatureStore, item: FeatureSet, *, samples: str) -> None:
    """A complete feature set."""
    for shard, (start, stop) in enumerate(SHARDS):
        store.write_shard(item, shard, len(SHARDS), features_of(start, stop))
    record = {"model": item.model, "tap": item.tap, "dataset": item.dataset, "split": item.split, "samples": samples}
    store.finish(item, len(SHARDS), record)
