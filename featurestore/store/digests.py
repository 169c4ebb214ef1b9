"""Digests of what is stored, at the speed of memory, so that every read can afford one.

A manifest and a cache entry name the digests of their files. A record has nobody who could name its own: the file
carries it in its Parquet footer, as a *seal*. The seal is the digest of the whole file, with zeros in its place, and of
the file's name in the store: a file in the place of another one is no more intact than one with other bytes.

A large file that is read in pieces has a second seal, of its footer alone. The footer then says the digests of the
pieces.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

_MARK = b"probestore_seal"
_FOOTER_MARK = b"probestore_footer"
FOOTER_SEAL = {_FOOTER_MARK.decode(): "0" * 32}
"""What is added to the metadata of a Parquet file so that `sealed` seals its footer, too."""
SEAL = {_MARK.decode(): "0" * 32}
"""What is added to the metadata of a Parquet file so that `sealed` can seal it."""
_OPEN = b"0" * 32
_LENGTH = b"\x18\x20"  # of the mark's value, in Thrift's compact protocol: field 2, a text of 32 bytes


def digest(content: Any) -> str:
    """Return XXH3 of a buffer: 128 bits, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(content)


def sealed_parquet(table: pa.Table, options: Mapping[str, Any], *, name: str) -> pa.Buffer:
    """Return a table as a Parquet file with a seal.

    Parameters
    ----------
    options : mapping of str to Any
        Options of `pyarrow.parquet.ParquetWriter`.
    name : str
        Name that the file will have, relative to the root of the store.
    """
    return sealed(open_parquet(table, options), name=name)


def open_parquet(table: pa.Table, options: Mapping[str, Any]) -> bytearray:
    """Return a table as a Parquet file whose seal is still open: the same bytes, whatever name the file will get.

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
        writer.add_key_value_metadata(SEAL)
    return bytearray(sink.getvalue())


def sealed(content: bytearray, *, name: str) -> pa.Buffer:
    """Return a file of `open_parquet` with its seals, which are written into `content`.

    Parameters
    ----------
    content : bytearray
    name : str
        Name that the file will have, relative to the root of the store.
    """
    view = memoryview(content)
    of_footer, place = _place_of_seal(view, _FOOTER_MARK), _place_of_seal(view)
    assert place is not None
    if of_footer is not None:
        footer = view[_start_of_footer(view) :]
        view[of_footer : of_footer + len(_OPEN)] = _footer_seal(footer, name)
    view[place : place + len(_OPEN)] = _seal(view, place, name)
    return pa.py_buffer(content)


def is_sealed(content: Any) -> bool:
    """Return whether a Parquet file has a seal, whether it is broken or not."""
    return seal(content) is not None


def seal(content: Any) -> str | None:
    """Return the seal of a Parquet file as it stands there, 32 hexadecimal digits if it is whole; None without one."""
    view = memoryview(content).cast("B")
    place = _place_of_seal(view)
    return None if place is None else bytes(view[place : place + len(_OPEN)]).decode("latin-1")


def is_intact(content: Any, name: str) -> bool | None:
    """Return whether a Parquet file is as it was sealed under this name; None if it has no seal, as older ones."""
    view = memoryview(content).cast("B")
    place = _place_of_seal(view)
    if place is None:
        return None
    return _seal(view, place, name) == bytes(view[place : place + len(_OPEN)])


def is_intact_footer(footer: Any, name: str) -> bool:
    """Return whether the footer of a Parquet file, from its first to its last byte, is as it was sealed."""
    view = memoryview(footer).cast("B")
    place = _place_of_seal(view, _FOOTER_MARK)
    if place is None or _start_of_footer(view):
        return False
    return _footer_seal(view, name) == bytes(view[place : place + len(_OPEN)])


def rows_digest(rows: pa.Table, *, without: Collection[str] = ()) -> str:
    """Return the digest of a small table's values, whatever file they are in.

    Parameters
    ----------
    rows : Table
        Columns of nulls do not count, so that a file which is older than a column has the same digest.
    without : collection of str
        Columns that do not count either.
    """
    counting = [
        name
        for name, column in zip(rows.column_names, rows.columns, strict=True)
        if name not in without and column.null_count < len(rows)
    ]
    return digest(json.dumps(rows.select(sorted(counting)).to_pylist(), sort_keys=True, default=str).encode())


def _seal(content: memoryview, place: int, name: str) -> bytes:
    found = xxhash.xxh3_128(content[:place])
    found.update(_OPEN)
    found.update(content[place + len(_OPEN) :])
    found.update(name.encode())
    return found.hexdigest().encode()


def _footer_seal(footer: memoryview, name: str) -> bytes:
    """Return the seal of a footer, in which neither seal counts."""
    content = bytearray(footer)
    for mark in (_MARK, _FOOTER_MARK):
        if (place := _place_of_seal(footer, mark)) is not None:
            content[place : place + len(_OPEN)] = _OPEN
    return digest(bytes(content) + name.encode()).encode()


def _place_of_seal(content: memoryview, mark: bytes = _MARK) -> int | None:
    """Return where the seal's digits begin; None if the footer has no mark, or more than one."""
    start = _start_of_footer(content)
    footer = bytes(content[start:])
    before = mark + _LENGTH
    found = footer.find(before)
    if found < 0 or footer.find(before, found + 1) >= 0 or found + len(before) + len(_OPEN) > len(footer):
        return None
    return start + found + len(before)


def digest_of_parts(manifest: Mapping[str, Any]) -> str:
    """Return a digest of the files that a manifest describes."""
    return digest(json.dumps([part["sha256"] for part in manifest["parts"]]).encode())


def _start_of_footer(content: memoryview) -> int:
    size = int.from_bytes(content[-8:-4], "little")
    return max(0, len(content) - 8 - size)
