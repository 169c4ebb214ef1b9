"""Cells that are fitted again, because an older version chose their hyper-parameter among equal metrics by strength."""

from __future__ import annotations

import pyarrow as pa

from featurestore import FeatureStore
from probes import metrics
from probes.fitting.tuning import tied


def former_choices(store: FeatureStore) -> set[str]:
    """Return the keys of the cells whose stored tuning ties at its best value, and which no rule of today has decided.

    The numbers of all other cells are those that today's rule gives, so their results hold. A store whose tables had
    the column `loss` from the beginning has no former choice, which takes one small file to see; of an older one, the
    results and the tuning are read, out of the node's cache where they have not changed.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    if not store.lacks_columns("tuning"):
        return set()
    results = store.record_tables("results")
    decided = {name for name, rows in results.items() if rows.num_rows and rows.column("ties_by")[0].as_py()}
    return {
        name
        for name, rows in store.record_tables("tuning").items()
        if name in results and name not in decided and rows.num_rows and _ties(rows)
    }


def _ties(rows: pa.Table) -> bool:
    """Return whether more than one value has the best metric."""
    metric = metrics.by_name(rows.column("metric")[0].as_py())
    return int(tied(rows.column("validation").to_numpy(), higher_is_better=metric.higher_is_better).sum()) > 1
