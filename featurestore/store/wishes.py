"""What studies want, and what they wanted once: the records of the tables `cells` and `dropped_cells`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import MissingFileError
from featurestore.store import schema
from featurestore.store.feature_store import FeatureStore


def wishes_of(store: FeatureStore, study: str) -> pa.Table:
    """Return the rows of `cells` of a study; none if it was never run.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    return _record(store, "cells", study)


def put_wishes(store: FeatureStore, study: str, rows: pa.Table, *, former: pa.Table) -> None:
    """Publish what a study wants. What it wants no more goes to `dropped_cells`, and what it wants again leaves that.

    Parameters
    ----------
    store : FeatureStore
    study : str
    rows, former : Table
        Rows of `cells`: those of now, and those that `wishes_of` has returned.

    Raises
    ------
    StoreError
        If the store cannot be read or written. What was wanted is then in `cells` still, or in both tables.
    """
    gone = without(former, rows)
    if gone.num_rows or without(rows, former).num_rows:
        dropped_at = pa.array([datetime.now(UTC)] * gone.num_rows, schema.DROPPED_CELLS.field("dropped_at").type)
        _publish_dropped(store, study, rows, gone.append_column("dropped_at", dropped_at))
    store.publish("cells", study, rows)


def removed_for_good(store: FeatureStore, cells: Collection[str]) -> None:
    """Record of dropped cells that their results are not there any more, so that nobody misses them.

    Parameters
    ----------
    store : FeatureStore
    cells : collection of str
        Keys of cells. Those that a study wants still are not touched.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    removed = pa.array(sorted(cells), pa.string())
    for study in sorted(store.names("dropped_cells")) if cells else ():
        rows = _record(store, "dropped_cells", study)
        made = pc.if_else(pc.is_in(rows["cell"], removed), pa.scalar(False), rows["made"])
        if made != rows["made"]:
            store.publish("dropped_cells", study, rows.set_column(rows.column_names.index("made"), "made", made))


def is_command(study_file: str) -> bool:
    """Return whether what wants a cell, as the column `study_file` of `cells` has it, is a command, not a path."""
    return study_file.startswith("probestore ")


def without(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Return the rows whose cell is in none of the other rows."""
    return rows.filter(pc.invert(pc.is_in(rows["cell"], others["cell"].combine_chunks())))


def _publish_dropped(store: FeatureStore, study: str, wanted: pa.Table, gone: pa.Table) -> None:
    """Add to the dropped cells of a study, each once; leave out those that it wants now."""
    earlier = _record(store, "dropped_cells", study)
    rows = pa.concat_tables([without(without(earlier, wanted), gone), gone.cast(schema.DROPPED_CELLS)])
    if rows != earlier:
        store.publish("dropped_cells", study, rows)


def _record(store: FeatureStore, table: str, study: str) -> pa.Table:
    try:
        return store.read_record(table, study)
    except MissingFileError:
        return schema.TABLES[table].schema.empty_table()
