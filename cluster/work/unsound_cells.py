"""Cells that are fitted again, because what was written with their results is gone, or what they rest on is another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from cluster.work.store_inventory import Inventory
from featurestore import FeatureStore
from featurestore.errors import DamagedFileError
from featurestore.store.evidence import COLUMNS, Evidence
from probes import methods
from probes.cells.results import Cell

_THREADS = 8  # an object store takes its time for each file


class UnsoundCells:
    """Finds them, and remembers why each is one.

    Listings show which files are gone. What a result rests on is read only where a listing shows that it was written
    after the result, or where it is made in this run: of a store in which nothing happened, nothing is read.

    Parameters
    ----------
    store : FeatureStore, optional
        None stands for one that is yet to be made.
    inventory : Inventory
    made : collection of str
        Keys of cells that had results when an earlier run ended.
    """

    def __init__(self, store: FeatureStore | None, inventory: Inventory, made: Collection[str]) -> None:
        self._store = store
        self._made = made
        self._inventory = inventory
        self._why: dict[str, str] = {}

    def __contains__(self, cell: str) -> bool:
        return cell in self._why

    @property
    def why(self) -> dict[str, str]:
        """Cell -> why its results hold no more."""
        return dict(self._why)

    def settle(self, cell: str) -> None:
        """Note that a cell was fitted again."""
        self._why.pop(cell, None)

    def judge(self, cells: Iterable[Cell], *, complete: bool) -> None:
        """Judge the cells of a pair that have results, or had them.

        Parameters
        ----------
        cells : iterable of Cell
        complete : bool
            Whether the features of the pair are there. Until then, nothing can be compared with them.
        """
        done = self._inventory.names("results")
        own = [cell for cell in cells if cell.key in done or cell.key in self._made]
        for cell in own:
            tables = ("results", *_written_with(cell)) if cell.key in done else ("results",)
            if lacking := [table for table in tables if cell.key not in self._inventory.names(table)]:
                self._why[cell.key] = f"of which files of {' and '.join(lacking)} are gone"
        doubtful = [cell for cell in own if cell.key not in self._why and self._is_doubtful(cell)] if complete else []
        if self._store and doubtful:
            evidence = Evidence(self._store, digest=self._inventory.digest)
            self._why |= dict(_objections(self._store, evidence, doubtful))

    def _is_doubtful(self, cell: Cell) -> bool:
        """Whether something that a result rests on may be younger than the result."""
        written = self._inventory.modified("results", cell.key)
        tables = [self._inventory.modified(table, cell.key) for table in _written_with(cell)]
        sets = [self._inventory.completed_at(item) for item in cell.features.sets()]
        return any(written is None or time is None or time > written for time in (*tables, *sets))


def _written_with(cell: Cell) -> Iterator[str]:
    """Yield the tables in which a cell has a record if it has results."""
    if methods.predicts(cell.probe):
        yield "predictions"
    if methods.load(cell.probe).HYPERPARAMETER:
        yield "tuning"


def _objections(store: FeatureStore, evidence: Evidence, cells: list[Cell]) -> Iterator[tuple[str, str]]:
    def objection(cell: Cell) -> str | None:
        try:
            rows = store.read_record("results", cell.key, columns=COLUMNS).slice(0, 1).to_pylist()
        except DamagedFileError:  # `probestore verify` finds it
            return None
        return next((evidence.objection(row, cell.features) for row in rows), None)

    with ThreadPoolExecutor(_THREADS) as pool:
        for cell, found in zip(cells, pool.map(objection, cells), strict=True):
            if found:
                yield cell.key, f"whose results rest on {found}"
