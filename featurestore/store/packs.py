"""Packs: Parquet files with the rows of many records of a table, which are read whole or record by record.

A pack has the rows of its records one after the other, in the columns that the table has today. Its footer lists the
records: their names and numbers of rows, and of the file that each was, its seal and its time of change. It also has
the digest of each row group, and a seal of its own, so that a reader of one record checks what it reads and no more. A
pack never changes; what is in none of its records any more is in another pack, or gone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import StoreError
from featurestore.store import commit, layout, schema
from featurestore.store.backends import Content
from featurestore.store.digests import FOOTER_SEAL, SEAL, digest, is_intact_footer, sealed
from featurestore.store.storage import InPack, Storage, StoredFile

MOST_BYTES = 64 * 1024**2
"""Size from which on a pack gets no further records."""

_LIST = "probestore_records"
_GROUP_ROWS = 16 * 1024
_MOST_WAITING = 256
_FOOTER_BYTES = 64 * 1024  # most footers of records are shorter
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """A record that is to be packed.

    Attributes
    ----------
    name : str
    rows : Table
        At least one row.
    seal : str, optional
        Seal of the file that it was; None if it had none.
    modified : datetime, optional
        Time of change of that file; None if it is not known.
    read_at : datetime, optional
        When it was read from that file.
    generation : int
        0 for the first record of its name in any pack; one more than that of the packed record that it takes the place
        of. Clocks do not say so: they differ, and are set back.
    """

    name: str
    rows: pa.Table
    seal: str | None = None
    modified: datetime | None = None
    read_at: datetime | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """The list of records in the footer of a pack, column by column.

    Attributes
    ----------
    names : list of str
    rows : list of int
    seals : list of str or None
    modified : list of int or None
        Microseconds since 1970.
    read_at, generations : list of int
    groups : list of (int, int, int, str)
        Of each row group the number of its records, its first byte and the one after its last, and the digest of these.
    """

    names: list[str]
    rows: list[int]
    seals: list[str | None]
    modified: list[int | None]
    read_at: list[int]
    generations: list[int]
    groups: list[tuple[int, int, int, str]]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Contents:
        """Return the list that JSON has brought, by the names of its columns."""
        columns = {field.name: said[field.name] for field in fields(cls)}
        return cls(**columns | {"groups": [tuple(group) for group in said["groups"]]})

    def of_pack(self, pack: StoredFile) -> Iterator[StoredFile]:
        """Yield its records, in the order of their rows."""
        table = pack.name.split("/")[0]
        share = pack.size / max(1, sum(self.rows))
        groups = [number for number, (n_records, *_) in enumerate(self.groups) for _ in range(n_records)]
        start = first = last = 0
        for name, n_rows, seal, modified, read_at, generation, group in zip(
            self.names, self.rows, self.seals, self.modified, self.read_at, self.generations, groups, strict=True
        ):
            if group != last:
                first, last = start, group
            place = InPack(pack, start, n_rows, group, start - first, seal, _time(read_at), generation)
            when = None if modified is None else _time(modified)
            yield StoredFile(f"{table}/{name}.parquet", round(n_rows * share), when, place)
            start += n_rows


def write(
    storage: Storage,
    table: str,
    records: Iterable[Record],
    *,
    are_current: Callable[[Sequence[str]], bool] | None = None,
) -> Iterator[tuple[StoredFile, list[str]]]:
    """Write packs of records, in their order; yield each pack once it is published, with the names of its records.

    No more than one pack is in memory at a time.

    Parameters
    ----------
    storage : Storage
    table : str
        One of `schema.TABLES` that is packed.
    records : iterable of Record
        Each name at most once.
    are_current : callable, optional
        Asked of the names of a pack right before it is published; if it says no, the pack is not published.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    pack = _Pack(table)
    for record in records:
        pack.add(record)
        if pack.n_bytes >= MOST_BYTES:
            yield from _published(storage, pack, are_current)
            pack = _Pack(table)
    if pack.contents.names:
        yield from _published(storage, pack, are_current)


def _published(
    storage: Storage, pack: _Pack, are_current: Callable[[Sequence[str]], bool] | None
) -> Iterator[tuple[StoredFile, list[str]]]:
    name, content = pack.finished()
    if are_current is None or are_current(pack.contents.names):
        storage.publish(name, content)
        yield StoredFile(name, len(content), datetime.now(UTC)), pack.contents.names


def fits(table: str, rows: pa.Table) -> bool:
    """Return whether a record loses nothing in a pack: it has rows, and no column that the table does not have today.

    Parameters
    ----------
    rows : Table
        Rows as they are in the file of the record.
    """
    known = _types(table)
    return len(rows) > 0 and all(known.get(field.name) == field.type for field in rows.schema)


@cache
def _types(table: str) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema.TABLES[table].schema}


class _Pack:
    """A pack in the making."""

    def __init__(self, table: str) -> None:
        self._table, self._columns = table, schema.TABLES[table].schema
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, self._columns, **commit.parquet_options(self._columns))
        self._waiting: list[pa.Table] = []
        self._n_records = self._n_rows = 0  # that wait
        self.contents = Contents([], [], [], [], [], [], [])

    @property
    def n_bytes(self) -> int:
        """Size so far."""
        return self._sink.tell()

    def add(self, record: Record) -> None:
        """Add a record. Of a table that is read whole, many share a row group; else each has its own."""
        own = self.contents
        own.names.append(record.name)
        own.rows.append(len(record.rows))
        own.seals.append(record.seal)
        own.modified.append(_microseconds(record.modified) if record.modified else None)
        own.read_at.append(_microseconds(record.read_at or datetime.now(UTC)))
        own.generations.append(record.generation)
        self._waiting.append(schema.by_name(record.rows, self._columns))
        self._n_records += 1
        self._n_rows += len(record.rows)
        if not schema.TABLES[self._table].gathered or self._n_rows >= _GROUP_ROWS:
            self._end_group()
        elif len(self._waiting) == _MOST_WAITING:  # many small tables take many times the memory of one
            self._waiting = [pa.concat_tables(self._waiting).combine_chunks()]

    def finished(self) -> tuple[str, Content]:
        """Return the name of the file and what is in it, sealed."""
        self._end_group()
        said = {_LIST: json.dumps(asdict(self.contents), separators=(",", ":"))}
        self._writer.add_key_value_metadata({**said, **FOOTER_SEAL, **SEAL})
        self._writer.close()
        content = bytearray(self._sink.getbuffer())
        name = layout.pack_path(self._table, datetime.now(UTC), digest(content))
        return name, sealed(content, name=name)

    def _end_group(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        start = self._sink.tell() or len(b"PAR1")
        self._writer.write_table(rows, row_group_size=len(rows))
        end = self._sink.tell()
        with self._sink.getbuffer() as written:
            self.contents.groups.append((self._n_records, start, end, digest(written[start:end])))
        self._waiting, self._n_records, self._n_rows = [], 0, 0


def read_footer(file: pa.NativeFile) -> bytes:
    """Return the footer of an open Parquet file, from its first to its last byte. No more is read than the end."""
    size = file.size()
    end = file.read_at(min(size, _FOOTER_BYTES), max(0, size - _FOOTER_BYTES))
    n_bytes = int.from_bytes(end[-8:-4], "little") + 8
    found: bytes = end[-n_bytes:] if n_bytes <= len(end) else file.read_at(min(n_bytes, size), max(0, size - n_bytes))
    return found


@dataclass(frozen=True)
class Footer:
    """What the footer of a pack says: of its records, and where their columns lie."""

    contents: Contents
    metadata: pq.FileMetaData


def open_footer(storage: Storage, pack: str) -> Footer:
    """Read the footer of a pack.

    Raises
    ------
    DamagedFileError
        If it is not as it was written.
    MissingFileError
        If the pack is not there: another one has its records now.
    StoreError
        If it cannot be read now, or another version wrote it in another form.
    """
    content = storage.read_sound(pack, lambda content: is_intact_footer(content, pack), _footer_buffer)
    with storage.parsing(pack):
        metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + content.to_pybytes()))
    return Footer(contents_of(storage, pack, metadata), metadata)


def contents_of(storage: Storage, pack: str, metadata: pq.FileMetaData) -> Contents:
    """Return the list of records in the footer of an intact pack.

    Raises
    ------
    StoreError
        If another version wrote it in another form.
    """
    try:
        return Contents.of(json.loads(metadata.metadata[_LIST.encode()]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{pack} in the store {storage.uri} lists its records in a form that this probestore does not know. "
            "Use the version of probestore that wrote it, or a newer one."
        ) from error


def read_group(
    storage: Storage, pack: str, footer: Footer, group: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read some columns of the records of a row group, as they are in the pack. No other bytes are read or checked.

    Raises
    ------
    DamagedFileError, MissingFileError, StoreError
        As of `open_footer`.
    """
    _, start, end, expected = footer.contents.groups[group]
    content = storage.read_sound(
        pack, lambda content: digest(content) == expected, lambda file: pa.py_buffer(file.read_at(end - start, start))
    )
    size = start + footer.metadata.serialized_size + len(content)
    with storage.parsing(pack):
        file = pq.ParquetFile(pa.PythonFile(_Window(content, start, size), mode="r"), metadata=footer.metadata)
        own = None if columns is None else [name for name in file.schema_arrow.names if name in columns]
        return file.read_row_group(group, columns=own, use_threads=False).replace_schema_metadata(None)


def records_in(storage: Storage, pack: StoredFile, *, but: Collection[str] = ()) -> Iterator[Record]:
    """Yield the records of a pack, as they are to be packed again, but for those of some names.

    Raises
    ------
    DamagedFileError, MissingFileError, StoreError
        As of `open_footer`.
    """
    footer = open_footer(storage, pack.name)
    rows: dict[int, pa.Table] = {}
    for file in footer.contents.of_pack(pack):
        place = place_of(file)
        if place.group not in rows:
            rows = {place.group: read_group(storage, pack.name, footer, place.group)}
        name = layout.record_name(file.name)
        if name not in but:
            own = rows[place.group].slice(place.offset, place.n_rows)
            yield Record(name, own, place.seal, file.modified, place.read_at, place.generation)


def place_of(file: StoredFile) -> InPack:
    """Return the place of a record that is in a pack."""
    assert file.packed is not None
    return file.packed


def age(file: StoredFile) -> tuple[int, datetime, str]:
    """Return what says which of two packed records of one name counts: the later one. Merging keeps it."""
    place = place_of(file)
    return place.generation, file.modified or place.read_at, place.pack.name


def drop(storage: Storage, pack: StoredFile, names: Collection[str]) -> None:
    """Replace a pack by one of its other records.

    Raises
    ------
    DamagedFileError, MissingFileError
        As of `open_footer`.
    StoreError
        If it has columns that this version does not know, or cannot be read or written.
    """
    table = pack.name.split("/")[0]
    for _ in write(storage, table, known_records(storage, pack, but=names)):
        pass
    storage.delete(pack.name)


def known_records(storage: Storage, pack: StoredFile, *, but: Collection[str] = ()) -> Iterator[Record]:
    """Yield the records of a pack, as `records_in` does, if they lose nothing in a pack of this version.

    Raises
    ------
    DamagedFileError, MissingFileError
        As of `open_footer`.
    StoreError
        If it has columns that this version does not know, or cannot be read.
    """
    for record in records_in(storage, pack, but=but):
        if not fits(pack.name.split("/")[0], record.rows):
            raise StoreError(
                f"{pack.name} in the store {storage.uri} has columns that this probestore does not know and would "
                "lose. Use the version of probestore that wrote it, or a newer one."
            )
        yield record


class _Window:
    """A file of which some bytes are at hand, as Python's files are read."""

    closed = False

    def __init__(self, content: pa.Buffer, start: int, size: int) -> None:
        self._content, self._start, self._size = content, start, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = {0: 0, 1: self._at, 2: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, n_bytes: int = -1) -> pa.Buffer:
        first = self._at - self._start
        if first < 0 or first + n_bytes > len(self._content):
            raise OSError(f"the bytes {self._at} to {self._at + n_bytes} are of another row group")
        self._at += n_bytes
        return self._content.slice(first, n_bytes)

    def close(self) -> None:
        self.closed = True


def _footer_buffer(file: pa.NativeFile) -> pa.Buffer:
    return pa.py_buffer(read_footer(file))


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
