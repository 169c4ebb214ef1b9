"""Add metrics that the results of a store lack. They are computed from the predictions; nothing is fitted again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import FeatureStore
from featurestore.store import schema
from probes import metrics
from probes.cells.results import score_columns


@dataclass(frozen=True)
class Rescored:
    """How many cells got rows that they lacked, and how many rows."""

    cells: int = 0
    rows: int = 0


def rescore(store: FeatureStore, names: Sequence[str] = ()) -> Rescored:
    """Add metrics to the results of every cell whose predictions are stored.

    Scores are stored as float32, so a metric may differ in its last digits from one that was computed when the probe
    was fitted. Rows that are there stay as they are.

    Parameters
    ----------
    store : FeatureStore
    names : sequence of str
        The only metrics to add; by default all that are defined for a cell.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    StoreError
        If the store cannot be written.
    """
    wanted = {metrics.by_name(name).name for name in names} or {metric.name for metric in metrics.METRICS}
    cells = sorted(store.names("results") & store.names("predictions"))
    added = [n_rows for cell in cells if (n_rows := _rescore_cell(store, cell, wanted))]
    return Rescored(cells=len(added), rows=sum(added))


def _rescore_cell(store: FeatureStore, cell: str, wanted: set[str]) -> int:
    """Publish the results of a cell with what they lacked; return how many rows that is."""
    results = store.read_record("results", cell)
    multilabel = store.read_record("predictions", cell, columns=["label"]).column("label").null_count > 0
    defined = metrics.names(multilabel=multilabel, probabilistic=_probabilistic(results))
    there = set(results.column("metric").to_pylist())
    lacking = [name for name in defined if name in wanted and name not in there]
    if lacking:
        scores, y = _scores_and_labels(store, cell, multilabel=multilabel)
        rows = [_row(results, name, metrics.by_name(name)(scores, y)) for name in lacking]
        store.publish("results", cell, pa.concat_tables([results, *rows]))
    return len(lacking)


def _probabilistic(results: pa.Table) -> bool:
    """Return whether the scores are probabilities. They are if the results do not say: once, every probe gave them."""
    return results.column("probabilistic")[0].as_py() is not False


def _scores_and_labels(
    store: FeatureStore, cell: str, *, multilabel: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64] | npt.NDArray[np.bool_]]:
    """Read the scores (n, n_classes) and the labels (n,) or (n, n_classes) of a cell."""
    rows = store.read_record("predictions", cell, columns=["label", "labels", "scores"])
    scores = pc.list_flatten(rows.column("scores")).to_numpy().reshape(len(rows), -1).astype(np.float64)
    if not multilabel:
        return scores, rows.column("label").to_numpy()
    labels = rows.column("labels")
    y = np.zeros(scores.shape, dtype=np.bool_)
    y[np.repeat(np.arange(len(rows)), pc.list_value_length(labels)), pc.list_flatten(labels)] = True
    return scores, y


def _row(results: pa.Table, name: str, score: metrics.Score) -> pa.Table:
    """Make the row of a metric. All its other columns are those of the other rows of the cell."""
    own = {"metric": name, "headline": False, **score_columns(score)}
    first = results.slice(0, 1)
    columns = [
        pa.array([own[field.name]], field.type) if field.name in own else first.column(field.name)
        for field in schema.RESULTS
    ]
    return pa.table(columns, schema=schema.RESULTS)
