"""Rows of results, tuning curves and predictions, and their commit: predictions first, results last."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from featurestore import Features, FeatureStore
from featurestore.layout import content_key
from featurestore.store import rows_table
from probes.fitted import Evidence, FittedProbe
from probes.metrics import Score


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One wanted result: which features, which probe, which choices.

    Attributes
    ----------
    metric : str
        The headline metric, which the hyper-parameter is chosen by.
    model_key : str
        Hash of the weights and the preprocessing that the model's name stands for.
    train_key, val_key, test_key : str
        Keys of the feature sets.
    options : str
        The method's `OPTIONS`, as JSON.
    """

    model: str
    model_key: str
    dataset: str
    probe: str
    solver: str
    seed: int
    metric: str
    train_key: str
    val_key: str
    test_key: str
    options: str
    setting: str = "fixed"
    tap: str = "penultimate"
    n_per_class: int | None = None

    @property
    def key(self) -> str:
        """Hash of everything that can change the numbers. The features' keys stand for the model and the dataset."""
        return content_key({"table": "results", **asdict(self)})

    def grain(self) -> dict[str, Any]:
        """The columns that every row of this cell starts with."""
        fields = ("model", "dataset", "setting", "tap", "probe", "solver", "n_per_class", "seed")
        return {"cell": self.key, **{name: getattr(self, name) for name in fields}}

    def wanted_row(self, study: str, wanted_at: datetime) -> dict[str, Any]:
        """The cell's row of the `cells` table."""
        keys = {name: getattr(self, name) for name in ("model_key", "train_key", "val_key", "test_key")}
        return {**self.grain(), "study": study, **keys, "wanted_at": wanted_at}


@dataclass(frozen=True)
class Sizes:
    """Readable images that a cell used."""

    n_train: int
    n_val: int
    n_test: int


def publish(
    store: FeatureStore,
    cell: Cell,
    probe: FittedProbe,
    scores: Mapping[str, Score],
    test: Features,
    test_scores: npt.NDArray[np.float64],
    sizes: Sizes,
    seconds: float,
) -> None:
    """Commit everything that is known of a fitted cell. The results come last: they are what "done" means."""
    grain = cell.grain()
    store.publish("predictions", cell.key, rows_table("predictions", _prediction_rows(grain, test, test_scores)))
    store.publish("tuning", cell.key, rows_table("tuning", _tuning_rows(grain, probe, cell.metric)))
    store.publish("results", cell.key, rows_table("results", _result_rows(cell, probe, scores, sizes, seconds)))


def _result_rows(
    cell: Cell, probe: FittedProbe, scores: Mapping[str, Score], sizes: Sizes, seconds: float
) -> list[dict[str, Any]]:
    shared = {
        **cell.grain(),
        **asdict(sizes),
        "model_key": cell.model_key,
        "hyperparameter": probe.hyperparameter,
        "chosen": probe.chosen,
        "at_grid_edge": probe.at_grid_edge,
        **_evidence(probe.evidence),
        "seconds": seconds,
        "versions": json.dumps(_versions(), sort_keys=True),
        "created_at": datetime.now(UTC),
    }
    return [
        {
            **shared,
            "metric": name,
            "headline": name == cell.metric,
            "value": score.value,
            "standard_error": score.standard_error if math.isfinite(score.standard_error) else None,
        }
        for name, score in scores.items()
    ]


def _tuning_rows(grain: dict[str, Any], probe: FittedProbe, metric: str) -> list[dict[str, Any]]:
    return [
        {
            **grain,
            "hyperparameter": probe.hyperparameter,
            "value": trial.value,
            "metric": metric,
            "validation": trial.validation,
            **asdict(trial.evidence),
        }
        for trial in probe.trials
    ]


def _prediction_rows(grain: dict[str, Any], test: Features, scores: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    single = test.y.ndim == 1
    return [
        {
            **grain,
            "sample_id": test.sample_id[image],
            "index": int(test.index[image]),
            "label": int(test.y[image]) if single else None,
            "labels": None if single else np.flatnonzero(test.y[image]).tolist(),
            "predicted": int(order[image, 0]),
            "probability": float(scores[image, test.y[image]]) if single else None,
            "top5": order[image].tolist(),
            "scores": scores[image].astype(np.float32),
        }
        for image in range(len(scores))
    ]


def _evidence(evidence: Evidence) -> dict[str, Any]:
    """The evidence columns of `results`; its seconds are those of the whole cell."""
    return {name: value for name, value in asdict(evidence).items() if name != "seconds"}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("probestore", "torch", "scikit-learn", "numpy")}
