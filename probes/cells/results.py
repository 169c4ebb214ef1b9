"""Make the rows of results, tuning curves and predictions, and commit them: predictions first, results last."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore import Features, FeatureStore, SplitSets
from featurestore.store import schema
from featurestore.store.evidence import tuning_digest
from featurestore.store.feature_store import Making, rows_table
from featurestore.store.layout import content_key, key_fields
from probes import methods
from probes.cells.likeness import Likeness
from probes.fitting.fitted import Choice, Evidence, FittedProbe
from probes.metrics import Score

TIES_BY = "loss"
"""Value of the column `ties_by` of `results`: the rule of `probes.fitting.tuning`. It is null where an older version
chose, which took the strongest regularisation of those with the best metric."""


FORMER_CHOICE = "chosen by strength among values that were equally good on the validation images"
"""Value of the column `replaced` of results whose cell was fitted again."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fit of one probe on the features of one model and dataset.

    Attributes
    ----------
    features : SplitSets
        The feature sets that the probe reads.
    model_key : str
        Hash of the weights and the preprocessing that the model's name stands for.
    probe, solver : str
        Names in `probes.methods` and `probes.solvers`. The solver is empty if the method has none.
    metric : str
        The headline metric, by which the hyper-parameter is chosen.
    options : str
        The method's `Options`, as JSON.
    setting : str
        The setting of the model's weights.
    n_per_class : int, optional
        Training images per class of a few-shot task; None for the task with all images.
    compute, inputs_key : str, optional
        The precision of the arithmetic that made the features, and a hash of everything else that made them. The keys
        of the features stand for both, so the cell's key does not depend on them.
    """

    features: SplitSets
    model_key: str
    probe: str
    solver: str
    seed: int
    metric: str
    options: str
    setting: str = "fixed"
    n_per_class: int | None = None
    compute: str | None = None
    inputs_key: str | None = None

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return self.features.model

    @property
    def dataset(self) -> str:
        """Return the name of the dataset."""
        return self.features.dataset

    @property
    def tap(self) -> str:
        """Return the tap: the place in the network that the features come from."""
        return self.features.tap

    @cached_property
    def key(self) -> str:
        """Return a hash of everything that can change the numbers. The features' keys stand for model and dataset."""
        own = key_fields(self, without=("features", "compute", "inputs_key"))
        return content_key({"table": "results", **key_fields(self.features), **own})

    def grain(self) -> dict[str, Any]:
        """Return the first columns of every row of this cell."""
        return {"cell": self.key, **{name: getattr(self, name) for name in _GRAIN}}


_GRAIN = ("model", "dataset", "setting", "tap", "probe", "solver", "n_per_class", "seed")


def wanted_rows(
    cells: Sequence[Cell],
    study: str,
    wanted_at: datetime,
    study_file: str | None = None,
    *,
    made: Sequence[bool | None] | None = None,
) -> pa.Table:
    """Return the rows of the table `cells` of the cells of a study.

    Parameters
    ----------
    cells : sequence of Cell
    study : str
    wanted_at : datetime
    study_file : str, optional
        What wants them, as `Study.file` has it.
    made : sequence of bool or None, optional
        Of each cell, whether its results were there; None where that is not known yet, as is the default.
    """
    n = len(cells)
    own = {name: [getattr(cell, name) for cell in cells] for name in (*_GRAIN, *_READ)}
    keys = {f"{split}_key": [getattr(cell.features, f"{split}_key") for cell in cells] for split in schema.SPLITS}
    wish = {"study": [study] * n, "wanted_at": [wanted_at] * n, "study_file": [study_file] * n}
    columns = {"cell": [cell.key for cell in cells], **own, **keys, **wish, "made": made or [None] * n}
    return pa.Table.from_pydict(columns, schema=schema.CELLS)


_READ = ("options", "model_key", "compute", "inputs_key")


@dataclass(frozen=True)
class Tested:
    """The test images of a cell with the scores and metrics that a probe gave them."""

    images: Features
    scores: npt.NDArray[np.float64]  # (n_test, n_classes)
    metrics: Mapping[str, Score]
    likeness: Likeness | None


@dataclass(frozen=True)
class FittedCell:
    """The fitted probe of a cell and its test.

    Attributes
    ----------
    probe : FittedProbe
    n_train, n_val : int
        Numbers of readable training and validation images that were used.
    likeness : sequence of Likeness
        How alike the features of all training images are, and those of all validation images.
    seconds : float
        Time of choosing, fitting and scoring.
    tested : Tested or None
        None for a method that measures features and scores no images.
    """

    probe: FittedProbe
    n_train: int
    n_val: int
    likeness: Sequence[Likeness | None]
    seconds: float
    tested: Tested | None = None


def publish(
    store: FeatureStore,
    cell: Cell,
    fitted: FittedCell,
    *,
    features: Sequence[str | None],
    made_with: Sequence[Making] = (),
) -> None:
    """Commit a fitted cell. The results are written last, because a cell with results counts as done.

    Parameters
    ----------
    features : sequence of str or None
        Digests of the features of train, val and test that were read; None for those that were not.
    made_with : sequence of Making
        What these features were made with.
    """
    digests: dict[str, Any] = {"features_digests": list(features), "features_made_with": _counted(made_with)}
    if fitted.tested:
        rows = _predictions(cell.grain(), fitted.tested, fitted.probe.probabilistic)
        digests["predictions_digest"] = store.publish("predictions", cell.key, rows)
    if fitted.probe.choice:
        trials = rows_table("tuning", _tuning_rows(cell, fitted.probe.choice))
        store.publish("tuning", cell.key, trials)
        digests["tuning_digest"] = tuning_digest(trials)
    rows = rows_table("results", [row | digests for row in _result_rows(cell, fitted)])
    store.publish("results", cell.key, rows)


def _counted(made_with: Sequence[Making]) -> list[dict[str, Any]]:
    """Return one entry for each thing that features were made with, with the number of their images."""
    counts: Counter[Making] = Counter()
    for making in made_with:
        counts[making._replace(n_images=0)] += making.n_images
    return [making._replace(n_images=n)._asdict() for making, n in counts.items()]


def set_aside(store: FeatureStore, cell: Cell) -> None:
    """Keep what is stored of a cell under another name, marked as replaced, before it is replaced.

    If this is cut short or repeated, the same is kept: the tuning first, which the new one would otherwise pass for.
    """
    name = content_key({"table": "results", "cell": cell.key, "replaced": FORMER_CHOICE})
    if not store.has_record("tuning", name):
        store.publish("tuning", name, _renamed(store.read_record("tuning", cell.key), name))
    rows = _renamed(store.read_record("results", cell.key), name)
    replaced = pa.array([FORMER_CHOICE] * len(rows), pa.string())
    store.publish("results", name, rows.set_column(rows.column_names.index("replaced"), "replaced", replaced))


def _renamed(rows: pa.Table, cell: str) -> pa.Table:
    return rows.set_column(rows.column_names.index("cell"), "cell", pa.array([cell] * len(rows), pa.string()))


def _result_rows(cell: Cell, fitted: FittedCell) -> list[dict[str, Any]]:
    probe, choice = fitted.probe, fitted.probe.choice
    shared = {
        **cell.grain(),
        "model_key": cell.model_key,
        "compute": cell.compute,
        "inputs_key": cell.inputs_key,
        "options": cell.options,
        "probabilistic": probe.probabilistic if fitted.tested else None,
        "n_train": fitted.n_train,
        "n_val": fitted.n_val,
        "n_test": len(fitted.tested.images.X) if fitted.tested else 0,
        "hyperparameter": methods.load(cell.probe).HYPERPARAMETER,
        "chosen": choice.value if choice else None,
        "at_grid_edge": choice.at_grid_edge if choice else None,
        "ties_by": TIES_BY if choice else None,
        "refitted": probe.refitted,
        **_evidence(probe.evidence),
        **_likeness([*fitted.likeness, fitted.tested.likeness if fitted.tested else None]),
        "seconds": fitted.seconds,
        "versions": json.dumps(_versions(), sort_keys=True),
        "created_at": datetime.now(UTC),
    }
    measured = {name: Score(value, math.nan) for name, value in probe.measures.items()}
    tested = fitted.tested.metrics if fitted.tested else {}
    return [
        {**shared, "metric": name, "headline": name == cell.metric, **score_columns(score)}
        for name, score in {**tested, **measured}.items()
    ]


def score_columns(score: Score) -> dict[str, float | None]:
    """Return a score as columns of `results`; the standard error is null if it is not known."""
    return {
        "value": score.value,
        "standard_error": score.standard_error if math.isfinite(score.standard_error) else None,
    }


def _tuning_rows(cell: Cell, choice: Choice) -> list[dict[str, Any]]:
    shared = {**cell.grain(), "hyperparameter": methods.load(cell.probe).HYPERPARAMETER, "metric": cell.metric}
    return [
        {
            **shared,
            "value": trial.value,
            "validation": trial.validation,
            **asdict(trial.evidence),
            "loss": trial.loss,
            "loss_kind": choice.loss_kind,
        }
        for trial in choice.trials
    ]


def _predictions(grain: Mapping[str, Any], tested: Tested, probabilistic: bool) -> pa.Table:
    """Make one row per test image. The table is built by column, because it may hold 50 million scores."""
    y, scores, n = tested.images.y, tested.scores, len(tested.scores)
    single = y.ndim == 1
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    own = {
        "sample_id": pa.array(tested.images.sample_id, pa.string()),
        "index": tested.images.index,
        "label": y if single else None,
        "labels": None if single else _lists([np.flatnonzero(row) for row in y]),
        "predicted": order[:, 0],
        "probability": scores[np.arange(n), y] if single and probabilistic else None,
        "top5": _lists(order),
        "scores": _lists(scores.astype(np.float32)),
    }
    same = {name: pa.repeat(pa.scalar(value, schema.PREDICTIONS.field(name).type), n) for name, value in grain.items()}
    kinds = schema.PREDICTIONS
    columns = {name: pa.nulls(n, kinds.field(name).type) if own[name] is None else own[name] for name in own}
    return pa.table({**same, **columns}).select(kinds.names).cast(kinds)


def _lists(rows: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]) -> pa.ListArray:
    """Turn rows of numbers into an Arrow list column."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate(rows))


def _likeness(splits: Sequence[Likeness | None]) -> dict[str, list[float | None]]:
    """Return the columns of `results` that say how alike the features of train, val and test are."""
    return {
        "feature_spread": [found.spread if found else None for found in splits],
        "equal_features": [found.equal if found else None for found in splits],
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    """Return the evidence columns of `results`, without seconds: that column holds the seconds of the whole cell."""
    return {name: value for name, value in asdict(evidence).items() if name != "seconds"}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("probestore", "torch", "scikit-learn", "numpy")}
