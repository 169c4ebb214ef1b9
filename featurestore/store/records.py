"""The records of a store: names to rows and back, whether a record is a file of its own or rows of a pack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.store import commit, layout, node_cache, packs, record_cache, schema
from featurestore.store.digests import seal
from featurestore.store.pack_index import TRIES, PackIndex, again
from featurestore.store.packs import Contents, place_of
from featurestore.store.storage import Storage, StoredFile

T = TypeVar("T")

_THREADS = 16  # an object store takes its time for each file


class Records:
    """The tables in `schema.TABLES` of a store.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._packs = PackIndex(storage)

    @property
    def uri(self) -> str:
        """Absolute path or URI of the store."""
        return self._storage.uri

    @property
    def storage(self) -> Storage:
        """The store's files, for code that looks after them."""
        return self._storage

    # ---- what exists -------------------------------------------------------------------------------------------

    def listed(self, folder: str) -> list[StoredFile]:
        """List every file below a folder, sorted by name, with the records of packs as if each were a file of its own.

        Raises
        ------
        DamagedFileError
            If the list of a pack is damaged.
        StoreError
            If the store cannot be listed, or a pack cannot be read now.
        """
        return self._packs.listed(folder)

    def stored_files(self, folder: str) -> list[StoredFile]:
        """List every file below a folder as it is, sorted by name, the packs last of all.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """
        return self._packs.files(folder)

    def expanded(self, files: Iterable[StoredFile], *, damaged: list[str] | None = None) -> list[StoredFile]:
        """Return a listing of :meth:`stored_files` as :meth:`listed` returns it.

        Parameters
        ----------
        files : iterable of StoredFile
        damaged : list of str, optional
            It gets the names of packs whose list is damaged or cannot be read, whose records are then left out.

        Raises
        ------
        DamagedFileError
            If the list of a pack is damaged, and `damaged` is not given.
        StoreError
            If a pack is gone since, or cannot be read now.
        """
        return self._packs.expanded(files, damaged=damaged)

    def with_damaged(self, folder: str) -> tuple[list[StoredFile], list[StoredFile]]:
        """List files as :meth:`stored_files` and as :meth:`listed`, without records of packs whose list cannot be read.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """

        def both() -> tuple[list[StoredFile], list[StoredFile]]:
            files = self.stored_files(folder)
            return files, self.expanded(files, damaged=[])

        return again(both)

    def known_records(self, pack: str) -> list[str]:
        """Return the names of the records of a pack, as :meth:`listed` has them, as far as its list can be read.

        This node may know the list of a pack that is damaged now.
        """
        try:
            (contents,) = self._packs.contents(pack.split("/")[0], [StoredFile(pack, 0, None)]).values()
        except StoreError:
            return []
        return [layout.record_path(pack.split("/")[0], name) for name in contents.names]

    def pack_contents(self, table: str, packs: Sequence[StoredFile]) -> Mapping[str, Contents]:
        """Return the lists of records of these packs of a table, by their names.

        Raises
        ------
        DamagedFileError, StoreError
            As of :meth:`expanded`.
        """
        return self._packs.contents(table, packs)

    def generations(self, table: str) -> dict[str, int]:
        """Return the names that packs have now -> generation of a record that takes the place of the packed one.

        Raises
        ------
        StoreError
            If the store cannot be listed, or a pack cannot be read now.
        """
        return self._packs.generations(table)

    def partly_counting(self, table: str, listed: Iterable[StoredFile]) -> dict[str, list[StoredFile]]:
        """Return the packs of which not every record counts, with those that do.

        Parameters
        ----------
        table : str
        listed : iterable of StoredFile
            The files of the table, as :meth:`listed` has listed them.

        Raises
        ------
        DamagedFileError, StoreError
            As of :meth:`expanded`.
        """
        counting: dict[StoredFile, list[StoredFile]] = {}
        for file in listed:
            if file.packed:
                counting.setdefault(file.packed.pack, []).append(file)
        lists = self._packs.contents(table, list(counting))
        return {pack.name: own for pack, own in counting.items() if len(own) < len(lists[pack.name].names)}

    def read_listed(self, table: str, files: Iterable[StoredFile]) -> pa.Table:
        """Return the rows of records that were listed before, from wherever they are now.

        Raises
        ------
        MissingFileError
            If one is not there any more.
        StoreError
            If one cannot be read.
        """
        names = [layout.record_name(file.name) for file in files]
        rows = [self.read_record(table, name) for name in names]
        return pa.concat_tables(rows or [schema.TABLES[table].schema.empty_table()])

    def record_seal(self, table: str, name: str) -> str | None:
        """Return the seal of a record that is there; None if it has none. Only the end of its file is read.

        That of a record in a pack is the seal of the file that it was.
        """
        path = layout.record_path(table, name)
        return self._of_record(
            table,
            name,
            lambda: self._storage.read(path, lambda file: seal(packs.read_footer(file))),
            lambda record: place_of(record).seal,
        )

    def names(self, table: str) -> set[str]:
        """Return the names of the records in one of `schema.TABLES`, without those of imports."""
        return set(self.record_times(table))

    def record_times(self, table: str) -> dict[str, datetime | None]:
        """Return the same names with the times at which the records were written, where these are known."""
        own = (file for file in self.listed(table) if not layout.parse_import(file.name))
        return {layout.record_name(file.name): file.modified for file in own}

    def has_record(self, table: str, name: str) -> bool:
        """Return whether there is a record in one of `schema.TABLES`, without a listing of the table."""
        there = self._storage.kind(layout.record_path(table, name)) == "file"
        return there or self._packs.packed(table, name) is not None

    def has_file(self, name: str) -> bool:
        """Return whether there is a file of a name, or a record in a pack in its place."""
        if self._storage.kind(name) == "file":
            return True
        table = _table_of_packed(name)
        with suppress(DamagedFileError):  # what only such a pack may have is not there
            return table is not None and self._packs.packed(table, layout.record_name(name)) is not None
        return False

    def origins(self, table: str) -> set[str]:
        """Return the names of the imports that added rows to one of `schema.TABLES`."""
        return {found[1] for name in self._storage.list_files(table) if (found := layout.parse_import(name))}

    # ---- reading -----------------------------------------------------------------------------------------------

    def read_record(self, table: str, name: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a record of one of `schema.TABLES`; columns that are newer than the file are null.

        Parameters
        ----------
        table, name : str
            Table, and name of a record that is there: one of :meth:`names`.
        columns : sequence of str, optional
            The only ones to read.

        Raises
        ------
        StoreError
            If it is not there or cannot be read.
        """
        return self._of_record(
            table,
            name,
            lambda: self._read_rows(layout.record_path(table, name), table, columns),
            lambda record: schema.by_name(self._packs.rows(record, columns), _columns_of(table, columns)),
        )

    def read_import(self, table: str, origin: str) -> pa.Table:
        """Read the rows that an import added to one of `schema.TABLES`, as :meth:`read_record` does.

        Raises
        ------
        StoreError
            If they are not there or cannot be read.
        """
        return self._read_rows(layout.import_path(table, origin), table)

    def _read_rows(self, path: str, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a file of one of `schema.TABLES`; columns that are newer than it are null."""
        wanted = _columns_of(table, columns)
        content = self._storage.read_intact(path)
        with self._storage.parsing(path):
            stored = pq.ParquetFile(pa.BufferReader(content))
            rows = stored.read([name for name in wanted.names if name in stored.schema_arrow.names])
            return schema.by_name(rows, wanted)

    def read_records(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of all records of one of `schema.TABLES`, without those of imports.

        One listing is made, and records that this node has read before are not opened again.
        """
        rows: list[dict[str, Any]] = self.record_rows(table, schema.TABLES[table].schema.names).to_pylist()
        for row in rows:
            del row["record"]
        return rows

    def record_tables(self, table: str) -> dict[str, pa.Table]:
        """Return the same rows as Arrow tables, by the names of their records."""
        found = self._gathered(
            table, None, lambda folder, files: record_cache.records(self._storage, table, folder, listed=files)
        )
        return {layout.record_name(name): rows for name, rows in found.items() if not layout.parse_import(name)}

    def record_rows(
        self, table: str, columns: Sequence[str], *, listed: Iterable[StoredFile] | None = None
    ) -> pa.Table:
        """Return some columns of the same rows as one Arrow table, with the names of their records in ``record``.

        Parameters
        ----------
        table : str
        columns : sequence of str
        listed : iterable of StoredFile, optional
            The files of the table, where :meth:`listed` has just listed them; by default that is done here.
        """
        rows = self._gathered(
            table,
            listed,
            lambda folder, files: record_cache.all_rows(self._storage, table, folder, columns, listed=files),
        )
        own = pc.invert(pc.starts_with(rows.column("file"), f"{table}/{layout.IMPORTS}/"))
        rows = rows.filter(own)
        names = pc.utf8_slice_codeunits(rows.column("file"), len(f"{table}/"), -len(".parquet"))
        return rows.drop_columns("file").append_column("record", names)

    def gathered_file(self, table: str, folder: Path, *, listed: Iterable[StoredFile]) -> Path | None:
        """Return a Parquet file with the rows of all records of a table; None if they are few files, and no pack.

        Parameters
        ----------
        table : str
        folder : Path
            Folder in which it is made where this node keeps none.
        listed : iterable of StoredFile
            The files of the table, as :meth:`listed` has just listed them.

        Raises
        ------
        StoreError
            If a file cannot be read.
        """

        def read(cache: Path | None, files: Sequence[StoredFile]) -> Path | None:
            if cache and (kept := record_cache.gather(self._storage, table, cache, listed=files)):
                return kept
            if not any(file.packed for file in files):
                return None
            record_cache.write_rows(self._storage, table, folder / f"{table}.parquet", listed=files)
            return folder / f"{table}.parquet"

        return self._gathered(table, listed, read)

    def _gathered(
        self,
        table: str,
        listed: Iterable[StoredFile] | None,
        read: Callable[[Path | None, Sequence[StoredFile]], T],
    ) -> T:
        """Read records by a listing. Those that were packed since are read from where they are now."""
        folder = node_cache.folder() if node_cache.limit_bytes() else None
        files = self.listed(table) if listed is None else list(listed)

        for _ in range(TRIES):
            try:
                return read(folder, files)
            except MissingFileError:
                now = {file.name: file for file in self.listed(table)}
                if any(file.name not in now for file in files):
                    raise
                files = [now[file.name] for file in files]
        return read(folder, files)

    def _of_record(self, table: str, name: str, loose: Callable[[], T], packed: Callable[[StoredFile], T]) -> T:
        """Return what the file of a record gives, or, where it has none, what its pack does."""
        try:
            return loose()
        except MissingFileError:
            if self._packs.packed(table, name) is None:
                raise

        def of_pack() -> T:
            record = self._packs.packed(table, name)
            return packed(record) if record else loose()

        return again(of_pack)

    # ---- writing -----------------------------------------------------------------------------------------------

    def publish(self, table: str, name: str, rows: pa.Table) -> str:
        """Publish or replace one record file of the tables in `schema.TABLES`, and return its seal."""
        return commit.publish_record(
            self._storage, layout.record_path(table, name), rows.cast(schema.TABLES[table].schema)
        )

    def publish_import(self, table: str, origin: str, rows: pa.Table) -> None:
        """Publish or replace the rows that an import adds to one of `schema.TABLES`."""
        commit.publish_record(self._storage, layout.import_path(table, origin), rows.cast(schema.TABLES[table].schema))

    def delete_records(self, table: str, names: Iterable[str]) -> None:
        """Remove records of one of `schema.TABLES`, wherever their rows are; it is no error if some are gone.

        A pack that holds some of them is replaced by one of all others. Whoever is killed in between leaves records
        that are still there, and none of the others is gone.

        Raises
        ------
        DamagedFileError
            If a pack that holds some of them is damaged.
        StoreError
            If the store cannot be read or written.
        """
        wanted = set(names)
        again(lambda: self._drop(table, wanted))
        there = {layout.record_name(name) for name in self._storage.list_files(table) if not layout.parse_pack(name)}
        paths = [layout.record_path(table, name) for name in sorted(wanted & there)]
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._storage.delete, paths))
        again(lambda: self._drop(table, wanted))  # what was packed meanwhile

    def _drop(self, table: str, names: set[str]) -> None:
        """Replace the packs that hold records of these names by packs without them."""
        files = self._packs.packs(table)
        contents = self._packs.contents(table, files)
        for file in files:
            if not names.isdisjoint(contents[file.name].names):
                packs.drop(self._storage, file, names)

    def delete_files(self, names: Iterable[str]) -> None:
        """Remove files by their names in :meth:`listed`, in order; records of one table that follow another at once.

        Raises
        ------
        DamagedFileError, StoreError
            As of :meth:`delete_records`.
        """
        for table, own in groupby(names, _table_of_packed):
            if table is None:
                for name in own:
                    self._storage.delete(name)
            else:
                self.delete_records(table, map(layout.record_name, own))

    def publish_records(self, table: str, records: Mapping[str, pa.Table]) -> None:
        """Publish many new records of one of `schema.TABLES`: as files, or, where they are many, in a pack.

        Parameters
        ----------
        table : str
            ``sets``, or another one that no version reads which does not know packs: they do not hold a store back.
        records : mapping of str to Table
            Rows by the names of their records, which nobody else writes now.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        own = {name: rows.cast(schema.TABLES[table].schema) for name, rows in records.items()}
        if len(own) <= record_cache.FEW_FILES or not schema.TABLES[table].packed:
            loose = own
        else:
            there = {layout.record_name(name) for name in self._storage.list_files(table)}
            loose = {name: rows for name, rows in own.items() if name in there or not packs.fits(table, rows)}
        now, after = datetime.now(UTC), self.generations(table) if own.keys() - loose.keys() else {}
        new = (
            packs.Record(name, own[name], modified=now, generation=after.get(name, 0))
            for name in sorted(own.keys() - loose.keys())
        )
        for _ in packs.write(self._storage, table, new):
            pass
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda name: self.publish(table, name, loose[name]), loose))


def _columns_of(table: str, columns: Sequence[str] | None) -> pa.Schema:
    """Return these columns of one of `schema.TABLES`; all of them by default."""
    wanted = schema.TABLES[table].schema
    return wanted if columns is None else pa.schema([wanted.field(column) for column in columns])


def _table_of_packed(name: str) -> str | None:
    """Return the table of a record that may be in a pack; None for any other file."""
    table, _, file = name.partition("/")
    of_a_record = file.endswith(".parquet") and "/" not in file
    return table if of_a_record and table in schema.TABLES and schema.TABLES[table].packed else None
