"""Digests of what is stored, at the speed of memory, so that every read can afford one.

A manifest and a cache entry name the digests of their files. A record has nobody who could name its own: the file
carries it in its Parquet footer, as a *seal*. The seal is the digest of the whole file with zeros in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

_MARK = b"probestore_xxh3_128"
_OPEN = b"0" * 32
_LENGTH = b"\x18\x20"  # of the mark's value, in Thrift's compact protocol: field 2, a text of 32 bytes


def digest(content: Any) -> str:
    """Return XXH3 of a buffer: 128 bits, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(content)


def sealed_parquet(table: pa.Table, options: Mapping[str, Any]) -> pa.Buffer:
    """Return a table as a Parquet file with a seal.

    Parameters
    ----------
    options : mapping of str to Any
        Options of `pyarrow.parquet.ParquetWriter`.
    """
    sink = pa.BufferOutputStream()
    kept = {name: value for name, value in (table.schema.metadata or {}).items() if name != _MARK}
    table = table.replace_schema_metadata(kept or None)
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_MARK.decode(): _OPEN.decode()})
    content = bytearray(sink.getvalue())
    place = _place_of_seal(memoryview(content))
    assert place is not None
    content[place : place + len(_OPEN)] = digest(content).encode()
    return pa.py_buffer(content)


def is_sealed(content: Any) -> bool:
    """Return whether a Parquet file has a seal, whether it is broken or not."""
    return _place_of_seal(memoryview(content).cast("B")) is not None


def is_intact(content: Any) -> bool | None:
    """Return whether a Parquet file is as it was sealed; None if it has no seal, as files of earlier versions."""
    view = memoryview(content).cast("B")
    place = _place_of_seal(view)
    if place is None:
        return None
    end = place + len(_OPEN)
    found = xxhash.xxh3_128(view[:place])
    found.update(_OPEN)
    found.update(view[end:])
    return found.hexdigest().encode() == bytes(view[place:end])


def _place_of_seal(content: memoryview) -> int | None:
    """Return where the seal's digits begin; None if the footer has no mark, or more than one."""
    size = int.from_bytes(content[-8:-4], "little")
    start = max(0, len(content) - 8 - size)
    footer = bytes(content[start:])
    before = _MARK + _LENGTH
    found = footer.find(before)
    if found < 0 or footer.find(before, found + 1) >= 0 or found + len(before) + len(_OPEN) > len(footer):
        return None
    return start + found + len(before)
