"""Tables and records as the bytes of a file, and their publication, which makes data visible in a store.

A file appears whole or not at all: see `featurestore.store.storage`. On a local disk each is flushed before it gets its
name, unless the environment variable ``PROBESTORE_FSYNC=0`` says that nobody minds a power failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from featurestore.store.digests import digest, open_parquet, seal, sealed, sealed_parquet
from featurestore.store.storage import Storage as Storage
from featurestore.store.storage import StoredFile as StoredFile


def encode_table(table: pa.Table, name: str) -> pa.Buffer:
    """Return a table as one sealed Parquet file in memory; see `featurestore.store.digests`.

    Without statistics of the features, which nobody filters by, it takes half the time.

    Parameters
    ----------
    table : Table
    name : str
        Name of the file in the store.
    """
    return sealed_parquet(table, parquet_options(table.schema), name=name)


def encode_by_content(table: pa.Table, name: Callable[[str], str]) -> tuple[str, pa.Buffer]:
    """Return the name and the content of a sealed Parquet file that is named by what is in it.

    Parameters
    ----------
    table : Table
    name : callable
        Digest of all of the file but its seal, 32 hexadecimal digits -> name of the file in the store.
    """
    content = open_parquet(table, parquet_options(table.schema))
    own = name(digest(content))
    return own, sealed(content, name=own)


def parquet_options(columns: pa.Schema) -> dict[str, Any]:
    """Return the options of `pyarrow.parquet.ParquetWriter` for tables with these columns."""
    codecs = {_leaf(field): _codec(field) for field in columns}
    return {
        "compression": codecs,
        "compression_level": {leaf: 1 for leaf, codec in codecs.items() if codec == "zstd"},
        "use_dictionary": _dictionary_columns(columns),
        "write_statistics": [_leaf(field) for field in columns if not pa.types.is_fixed_size_list(field.type)],
        "write_page_checksum": True,
    }


def publish_record(storage: Storage, name: str, table: pa.Table) -> str:
    """Publish a table as one Parquet file without a manifest, and return its seal."""
    content = encode_table(table, name)
    storage.publish(name, content)
    return str(seal(content))


def publish_json(storage: Storage, name: str, record: dict[str, Any]) -> None:
    """Publish a record as readable JSON."""
    storage.publish(name, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def _dictionary_columns(columns: pa.Schema) -> list[str]:
    """Return the columns that are worth a dictionary: text that repeats, never ids or numbers."""
    return [
        field.name for field in columns if pa.types.is_string(field.type) and field.name not in ("sample_id", "source")
    ]


def _codec(field: pa.Field) -> str:
    """Return the compression of a column.

    Features are noise to a general compressor. LZ4 still takes what there is (zeros after a ReLU), and gives a matrix
    back three to six times as fast as zstd, which would make it a seventh to a quarter smaller.
    """
    return "lz4" if pa.types.is_fixed_size_list(field.type) else "zstd"


def _leaf(field: pa.Field) -> str:
    """Return the name of the Parquet column that holds the values of a column."""
    nested = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    return f"{field.name}.list.element" if nested else field.name
