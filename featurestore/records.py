"""One record file of a store, with the columns that this version's schema has."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import FeatureStore, layout, schema
from featurestore.commit import Storage


def read_record(store: FeatureStore, table: str, name: str, *, columns: list[str] | None = None) -> pa.Table:
    """Read a record of one of `schema.TABLES`; columns that are newer than the file are null.

    Parameters
    ----------
    table, name : str
        Of a record that is there: one of `FeatureStore.names`.
    columns : list of str, optional
        The only ones to read.
    """
    wanted = schema.TABLES[table]
    if columns is not None:
        wanted = pa.schema([wanted.field(column) for column in columns])
    with Storage(store.uri).open_input(layout.record_path(table, name)) as file:
        stored = pq.ParquetFile(file)
        found = stored.read([name for name in wanted.names if name in stored.schema_arrow.names])
    arrays = [
        found.column(field.name) if field.name in found.column_names else pa.nulls(len(found), field.type)
        for field in wanted
    ]
    return pa.table(arrays, schema=wanted)
