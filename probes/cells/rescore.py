"""Add metrics that the results of a store lack. They are computed from the predictions; nothing is fitted again."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.store import schema
from probes import metrics
from probes.cells.results import score_columns


def rescore_cell(store: FeatureStore, cell: str, wanted: Collection[str]) -> int:
    """Add the metrics that the results of a cell lack; return how many rows were added.

    Scores are stored as float32, so a metric may differ in its last digits from one that was computed when the probe
    was fitted. Existing rows do not change.

    Parameters
    ----------
    store : FeatureStore
    cell : str
        Key of a cell with results and predictions.
    wanted : collection of str
        Names of metrics. Metrics that are not defined for the cell are left out.

    Raises
    ------
    StoreError
        If the store cannot be read or written, or the results were computed from other predictions.
    """
    results = store.read_record("results", cell)
    _check_predictions(store, cell, results)
    multilabel = store.read_record("predictions", cell, columns=["label"]).column("label").null_count > 0
    defined = metrics.names(multilabel=multilabel, probabilistic=_probabilistic(results))
    there = set(results.column("metric").to_pylist())
    lacking = [name for name in defined if name in wanted and name not in there]
    if lacking:
        scores, y = _scores_and_labels(store, cell, multilabel=multilabel)
        rows = [_row(results, name, metrics.by_name(name)(scores, y)) for name in lacking]
        store.publish("results", cell, pa.concat_tables([results, *rows]))
    return len(lacking)


def _check_predictions(store: FeatureStore, cell: str, results: pa.Table) -> None:
    """Check that the predictions are those that the results were computed from, so that all metrics are of one fit."""
    digest = results.column("predictions_digest")[0].as_py()
    if digest and store.record_seal("predictions", cell) != digest:
        raise StoreError(
            f"The results of cell {cell} were not computed from the predictions that are there now. Run the study that "
            "wants it again, which fits it anew: probestore run STUDY."
        )


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
