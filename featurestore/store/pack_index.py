"""Where the records of a store are: in files of their own, or in packs.

The file of a record counts more than packs, and of two packs the one with the later record does. So nothing is there
twice, whatever has been packed, and whoever was killed meanwhile.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from featurestore.errors import MissingFileError, StoreError
from featurestore.store import layout, node_cache, packs, schema
from featurestore.store.digests import digest
from featurestore.store.packs import Contents, Footer, place_of
from featurestore.store.storage import Storage, StoredFile
from featurestore.written_whole import written_whole

T = TypeVar("T")

TRIES = 8
"""Number of times that somebody looks for what is being packed just then."""
_KEPT_FOOTERS = 4
_KEPT_BYTES = 64 * 1024**2  # of rows that were read last


class PackIndex:
    """The packs of one store: listings in which their records take their place, and the rows of those.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._contents: dict[str, dict[str, Contents]] = {}  # by table, then by name of the pack
        self._found: dict[str, tuple[list[StoredFile], dict[str, StoredFile]]] = {}
        self._footers: OrderedDict[str, Footer] = OrderedDict()
        self._rows: OrderedDict[tuple[str, int, tuple[str, ...] | None], pa.Table] = OrderedDict()

    # ---- listings ----------------------------------------------------------------------------------------------

    def files(self, folder: str) -> list[StoredFile]:
        """List every file below `folder`, sorted by name, with the packs as they are.

        Packs are listed after all else: a record that was packed meanwhile is then in one of the two.
        """
        found = self._storage.files(folder)
        for table in _packed_tables(folder):
            found = [file for file in found if not file.name.startswith(f"{table}/{layout.PACKS}/")]
            found += self._storage.files(f"{table}/{layout.PACKS}")
        return sorted(found, key=lambda file: file.name)

    def listed(self, folder: str) -> list[StoredFile]:
        """List the same with the records of packs in the place of packs, each name once.

        Raises
        ------
        DamagedFileError
            If the footer of a pack is damaged.
        StoreError
            If the store cannot be listed, or a pack cannot be read now.
        """
        return again(lambda: self.expanded(self.files(folder)))

    def expanded(self, files: Iterable[StoredFile], *, damaged: list[str] | None = None) -> list[StoredFile]:
        """Return a listing with the records of packs in the place of packs, each name once, sorted by name.

        Parameters
        ----------
        files : iterable of StoredFile
            Files as `files` lists them; what is expanded already stays so.
        damaged : list of str, optional
            It gets the names of packs whose footer is damaged or cannot be read, which are then left out.

        Raises
        ------
        DamagedFileError
            If the footer of a pack is damaged, and `damaged` is not given.
        MissingFileError
            If a pack is gone since: another one has its records.
        StoreError
            If a pack cannot be read now.
        """
        found, of_tables = {}, dict[str, list[StoredFile]]()
        for file in files:
            if table := layout.parse_pack(file.name):
                of_tables.setdefault(table, []).append(file)
            elif not _is_below_packs(file.name):
                found[file.name] = file
        for table, own in of_tables.items():
            for name, record in self._in_packs(table, own, damaged).items():
                found.setdefault(name, record)
        return sorted(found.values(), key=lambda file: file.name) if of_tables else list(found.values())

    def packed(self, table: str, name: str) -> StoredFile | None:
        """Return the record of a name in the packs that there are now; None if it is in none.

        Raises
        ------
        DamagedFileError, StoreError
            As of `listed`.
        """
        if not schema.TABLES[table].packed:
            return None
        return again(lambda: self._in_packs(table, self.packs(table)).get(layout.record_path(table, name)))

    def generations(self, table: str) -> dict[str, int]:
        """Return the names that packs have now -> generation of a record that takes the place of the packed one.

        Whoever packs a record that is a file asks before and after having read it: the file counts more than all of
        them, unless somebody packs a later one meanwhile. Packs whose footer is damaged do not count.

        Raises
        ------
        StoreError
            If the store cannot be listed, or a pack cannot be read now.
        """
        found = again(lambda: self._in_packs(table, self.packs(table), []))
        return {layout.record_name(path): place_of(record).generation + 1 for path, record in found.items()}

    def packs(self, table: str) -> list[StoredFile]:
        """List the packs of a table, the earliest first."""
        if not schema.TABLES[table].packed:
            return []
        return [file for file in self._storage.files(f"{table}/{layout.PACKS}") if layout.parse_pack(file.name)]

    def contents(self, table: str, files: Sequence[StoredFile]) -> Mapping[str, Contents]:
        """Return the lists of records of these packs of a table, which are kept on this node.

        Raises
        ------
        DamagedFileError, MissingFileError, StoreError
            As of `expanded`.
        """
        return self._contents_of(table, files, None)

    def _in_packs(
        self, table: str, files: Sequence[StoredFile], damaged: list[str] | None = None
    ) -> dict[str, StoredFile]:
        """Return path -> record of all that these packs hold, of each name the one that counts."""
        with self._lock:
            known = self._found.get(table)
        if known and known[0] == files:
            return known[1]
        contents = self._contents_of(table, files, damaged)
        found: dict[str, StoredFile] = {}
        for file in files:
            for record in contents[file.name].of_pack(file) if file.name in contents else ():
                other = found.get(record.name)
                if other is None or packs.age(other) <= packs.age(record):
                    found[record.name] = record
        if len(contents) == len(files):
            with self._lock:
                self._found[table] = list(files), found
        return found

    def _contents_of(self, table: str, files: Sequence[StoredFile], damaged: list[str] | None) -> dict[str, Contents]:
        with self._lock:
            known = self._contents.get(table, {})
        names = [file.name for file in files]
        if known.keys() >= set(names):
            return {name: known[name] for name in names}
        kept = known | _kept(self._storage, table)
        found, is_new = dict[str, Contents](), False
        for name in names:
            try:
                if name not in kept:
                    kept[name], is_new = self._footer(name).contents, True
                found[name] = kept[name]
            except StoreError as error:
                if damaged is None or isinstance(error, MissingFileError):
                    raise
                damaged.append(name)
        with self._lock:
            self._contents[table] = found
        if is_new:
            _keep(self._storage, table, found)
        return found

    # ---- rows --------------------------------------------------------------------------------------------------

    def rows(self, record: StoredFile, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a record of a pack: its columns as they are there, or some of them.

        Raises
        ------
        DamagedFileError
            If what is read is not as it was written.
        MissingFileError
            If the pack is gone since: another one has its records.
        StoreError
            If it cannot be read now.
        """
        place = place_of(record)
        key = place.pack.name, place.group, None if columns is None else tuple(columns)
        with self._lock:
            group = self._rows.get(key)
        if group is None:
            footer = self._footer(place.pack.name)
            group = packs.read_group(self._storage, place.pack.name, footer, place.group, columns)
            self._keep_rows(key, group)
        return group.slice(place.offset, place.n_rows)

    def _keep_rows(self, key: tuple[str, int, tuple[str, ...] | None], group: pa.Table) -> None:
        with self._lock:
            self._rows[key] = group
            while len(self._rows) > 1 and sum(kept.nbytes for kept in self._rows.values()) > _KEPT_BYTES:
                self._rows.popitem(last=False)

    def _footer(self, pack: str) -> Footer:
        with self._lock:
            if pack in self._footers:
                self._footers.move_to_end(pack)
                return self._footers[pack]
        footer = packs.open_footer(self._storage, pack)
        with self._lock:
            self._footers[pack] = footer
            while len(self._footers) > _KEPT_FOOTERS:
                self._footers.popitem(last=False)
        return footer


def again(read: Callable[[], T]) -> T:
    """Do `read`, and do it again if a file that it has listed is gone: it may have been packed meanwhile.

    Raises
    ------
    MissingFileError
        If that does not help.
    """
    for _ in range(TRIES - 1):
        try:
            return read()
        except MissingFileError:
            continue
    return read()


def _packed_tables(folder: str) -> list[str]:
    """Return the packed tables that a listing of a folder shows whole."""
    return [name for name, table in schema.TABLES.items() if table.packed and folder in ("", name)]


def _is_below_packs(name: str) -> bool:
    """Return whether a file lies where packs do; one that is no pack is no record either."""
    table, _, rest = name.partition("/")
    return rest.startswith(f"{layout.PACKS}/") and table in schema.TABLES


# ---- what a node keeps of packs ----------------------------------------------------------------------------------


def _kept_path(storage: Storage, table: str) -> Path | None:
    if not node_cache.limit_bytes():
        return None
    return node_cache.folder() / f"packs-{layout.content_key({'store': storage.uri, 'table': table})}.json"


def _kept(storage: Storage, table: str) -> dict[str, Contents]:
    """Return what this node has kept of the packs of a table; nothing if it is not as it was written."""
    path = _kept_path(storage, table)
    try:
        own, _, text = path.read_text().partition("\n") if path else ("", "", "")
        if not own or digest(text.encode()) != own:
            return {}
        said = json.loads(text)
        return {name: Contents.of(own) for name, own in said.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _keep(storage: Storage, table: str, contents: Mapping[str, Contents]) -> None:
    path = _kept_path(storage, table)
    said = {name: asdict(own) for name, own in contents.items()}
    text = json.dumps(said, separators=(",", ":"))
    try:
        if path:
            with written_whole(path) as staged:
                staged.write_text(f"{digest(text.encode())}\n{text}")
    except OSError:  # no space, or no permission
        return
