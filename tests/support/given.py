"""Rows that a test gives a store, and a database over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from locations import SHARED

from queries.asking.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAPER = SHARED / "paper"

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
Given = Callable[..., Database]


def cell(model: str, dataset: str, **changes: object) -> Row:
    grain = {"setting": "fixed", "tap": "penultimate", "probe": "logistic", "solver": "path", "seed": 0} | changes
    return {"cell": "/".join(map(str, (model, dataset, *grain.values()))), "model": model, "dataset": dataset, **grain}


GRAIN = {"setting", "tap", "probe", "solver", "seed", "n_per_class"}


def score(model: str, dataset: str, value: float, **changes: object) -> Row:
    grain = {name: changes[name] for name in GRAIN & set(changes)}
    counts = {"n_train": 80, "n_val": 20, "n_test": 100, "seconds": 1.0, "versions": "{}", "created_at": NOW}
    return {**cell(model, dataset, **grain), "metric": "top1", "headline": True, "value": value, **counts, **changes}


def wanted(model: str, dataset: str, **changes: object) -> Row:
    keys = {"train_key": "a", "val_key": "b", "test_key": "c"}
    return {**cell(model, dataset), "study": "s", **keys, "wanted_at": NOW, **changes}


def model(name: str, imagenet_top1: float | None) -> Row:
    record = {"backbone": f"timm:{name}", "weights": "pretrained", "recorded_at": NOW}
    return {"model": name, "imagenet_top1": imagenet_top1, **record}


def grid(values: Mapping[str, Sequence[float]]) -> list[Row]:
    """Scores of model -> accuracy on d0, d1, ..."""
    return [score(name, f"d{j}", value) for name, row in values.items() for j, value in enumerate(row)]


def logit(p: float) -> float:
    return math.log(p / (1 - p))


THREE = {"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.65], "c": [0.6, 0.75, 0.5]}
