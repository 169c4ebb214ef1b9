"""The committed files of each table of a store, as SQL opens them; what is large is listed when a query names it.

The records of which SQL reads every row are listed when a store is opened. Image tables and predictions have up to
millions of files, and most questions ask for none of them, so each of these tables is listed when a query first names
it; of image tables only the folders of the models and datasets that the query can need.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.plain_text import counted
from featurestore.store import schema
from featurestore.store.expected import LISTED, LISTED_FOR_SETS, Gone, gone, gone_sets, listings
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import StoredFile

T = TypeVar("T")

LATE = (*schema.SETS, "predictions")
"""Tables that are listed when a query names them."""

_LISTINGS = 16  # at once


@dataclass(frozen=True)
class Asked:
    """What a query can need of a table of images.

    Attributes
    ----------
    models, datasets : frozenset of str, optional
        Rows of other models or datasets change nothing; None: those of every one can.
    """

    models: frozenset[str] | None = None
    datasets: frozenset[str] | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether no row is asked for."""
        return frozenset() in (self.models, self.datasets)

    def of(self, level: str) -> frozenset[str] | None:
        """Return the values of a partition that are asked for; None for any of them."""
        return {"model": self.models, "dataset": self.datasets}.get(level)


EVERYTHING = Asked()


class TableFiles:
    """The files of the tables of a store.

    Parameters
    ----------
    store : FeatureStore
    gaps : collection of str
        Tables of which files that were made and are gone are passed over.

    Attributes
    ----------
    listed : dict of str to list of StoredFile
        Files of the tables that are read at once, by the folder, as they were when this was made.
    gone : dict of str to StoreError
        What is said of files that were made and are not there, by their names.

    Raises
    ------
    StoreError
        If the store cannot be listed, or a file of a table that is read at once is gone.
    """

    def __init__(self, store: FeatureStore, gaps: Collection[str]) -> None:
        self._store = store
        self._gaps = gaps
        self._lock = threading.Lock()
        self._late: dict[tuple[str, Asked], dict[str, int]] = {}
        self._known: dict[str, dict[str, int]] = {}
        self._records: dict[str, list[StoredFile]] = {}
        self._partly: set[str] = set()
        self.gone: dict[str, StoreError] = {}
        self.listed = listings(store, sorted({*schema.TABLES, *LISTED, *LISTED_FOR_SETS} - set(LATE)))
        early = [table for table in schema.TABLES if table not in LATE]
        self._lost = self._not_passed_over([*gone(store, listed=self.listed, tables=early), *self._analyses()])
        if missing := [item for item in self._lost if is_read_at_once(item.table)]:
            raise _gap(store, missing)

    def names(self, table: str, asked: Asked = EVERYTHING) -> Mapping[str, int]:
        """Return the names in the store of the files of a table, with their sizes in bytes; 0 of one that is gone.

        Parameters
        ----------
        table : str
        asked : Asked
            What a query can need of it. There may be files of more.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """
        with self._lock:
            for key in ((table, EVERYTHING), (table, asked)):
                if key in self._late:
                    return self._late[key]
            found = self._late[table, asked] = self._look(table, asked)
            self._known.setdefault(table, {}).update(found)
            return found

    def has(self, name: str) -> bool:
        """Return whether a name is one of those that were returned."""
        return name in self._known.get(name.partition("/")[0], ())

    def records(self, name: str) -> list[StoredFile]:
        """Return the records that are, or were, in a file of a table that is not read at once; of a set, none."""
        return self._records.get(name, [])

    def is_partly_read(self, name: str) -> bool:
        """Return whether a file is a pack of records of which later ones count."""
        return name in self._partly

    def _look(self, table: str, asked: Asked) -> dict[str, int]:
        listed, lost = self.listed, self._lost
        if asked.is_nothing:
            return {}
        if table in LATE:
            files = self._images(table, asked) if table in schema.SETS else self._store.listed(table)
            listed = {**listed, table: files}
            lost = self._not_passed_over(self._gone(table, listed, asked))
        sizes = self._store.file_sizes(table, listed=listed[table])
        if table in schema.TABLES and not is_read_at_once(table):
            self._note_records(table, listed[table])
        own = [item for item in lost if item.table == table]
        self.gone |= {item.file: _gap(self._store, [item]) for item in own}  # who asks for one is told on opening it
        return sizes | {item.file: 0 for item in own}

    def _note_records(self, table: str, listed: Sequence[StoredFile]) -> None:
        self._partly |= self._store.partly_counting(table, listed).keys()
        for file in listed:
            self._records.setdefault(file.packed.pack.name if file.packed else file.name, []).append(file)

    def _gone(self, table: str, listed: Mapping[str, Sequence[StoredFile]], asked: Asked) -> list[Gone]:
        if table in schema.SETS:
            return gone_sets(self._store, listed=listed, among=lambda item: _is_of(item, asked))
        return gone(self._store, listed=listed, tables=[table])

    def _images(self, table: str, asked: Asked) -> list[StoredFile]:
        """List the sets that are asked for. Only names that are there are looked into, as the file system has them."""
        storage, folders = self._store.storage, [table]
        levels = schema.SETS[table].partitions
        bounded = [place for place, level in enumerate(levels) if asked.of(level) is not None]
        for level in levels[: bounded[-1] + 1] if bounded else ():
            inside, wanted = _each(storage.folders, folders), asked.of(level)
            folders = [name for name in inside if wanted is None or name.rpartition(f"/{level}=")[2] in wanted]
        return _each(storage.files, folders)

    def _not_passed_over(self, lost: Iterable[Gone]) -> list[Gone]:
        return [item for item in lost if item.table not in self._gaps]

    def _analyses(self) -> list[Gone]:
        """Return the analyses that are gone. Few stores have any, and their names take numerical libraries."""
        if not any(self.listed[name] for name, table in schema.TABLES.items() if table.needed_by == "features"):
            return []
        from probes.analysis.gone_analyses import gone_analyses

        return gone_analyses(self._store, self.listed)


def is_read_at_once(table: str) -> bool:
    """Return whether SQL reads all rows of a table when a store is opened."""
    return table in schema.TABLES and schema.TABLES[table].gathered


def _each(work: Callable[[str], list[T]], folders: Sequence[str]) -> list[T]:
    """Return what `work` gives for each folder, in one list."""
    with ThreadPoolExecutor(_LISTINGS) as pool:  # an object store takes its time for each
        return [found for own in pool.map(work, folders) for found in own]


def _is_of(item: FeatureSet | SampleSet, asked: Asked) -> bool:
    places = {"model": getattr(item, "model", None), "dataset": item.dataset}
    return all((wanted := asked.of(level)) is None or value in wanted for level, value in places.items())


def _gap(store: FeatureStore, lost: Sequence[Gone]) -> StoreError:
    """Return the error about files without which an answer would be another one."""
    more = f" (and {counted(len(lost) - 1, 'more file')})" if len(lost) > 1 else ""
    return StoreError(
        f"{lost[0].file}{more} is not in the store {store.uri} any more, but {lost[0].why}. "
        f"Without it answers would be others. See how to make it again: {store.storage.mend()}"
    )
