"""Who wanted last what no study wants any more, by the cells that studies have dropped."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from featurestore.errors import DamagedFileError
from featurestore.store import layout
from featurestore.store.feature_store import FeatureStore, rows_table
from featurestore.store.layout import FeatureSet, SampleSet, SplitSets
from featurestore.store.schema import SPLITS

_THREADS = 16  # an object store takes its time for each file
_GRAIN = ("model", "dataset", "setting", "tap", "probe", "solver", "n_per_class", "seed")


@dataclass(frozen=True)
class Wish:
    """A wish that a study had last.

    Attributes
    ----------
    study, cell : str
    study_file : str or None
        File or command that wanted it; None where the study's version did not say so.
    wanted_at : datetime
    """

    study: str
    cell: str
    study_file: str | None
    wanted_at: datetime

    @classmethod
    def of(cls, row: dict[str, Any]) -> Wish:
        """Return the wish that a row of `cells` or of `dropped_cells` records."""
        return cls(row["study"], row["cell"], row["study_file"], row["wanted_at"])

    def __str__(self) -> str:
        of = f" ({self.study_file})" if self.study_file else ""
        return f"study {self.study}{of} on {self.wanted_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class LastWishes:
    """The last wish for each thing in a store, as far as its studies have recorded wishes that they dropped.

    Parameters
    ----------
    store : FeatureStore
    wanted : iterable of mapping
        Rows of `cells` of all studies.

    Raises
    ------
    StoreError
        If the dropped cells cannot be read.
    """

    def __init__(self, store: FeatureStore, wanted: Iterable[dict[str, Any]]) -> None:
        self._store = store
        self._wanted = wanted
        dropped = (store.read_record("dropped_cells", name) for name in sorted(store.names("dropped_cells")))
        self._dropped = _in_order(row for rows in dropped for row in rows.to_pylist())  # a later row counts
        self._cells = {row["cell"]: Wish.of(row) for row in self._dropped}
        self._models = {row["model_key"]: Wish.of(row) for row in self._dropped}
        self._features = {item: Wish.of(row) for row in self._dropped for item in SplitSets.of_cell(row).sets()}
        self._keys = {row[f"{split}_key"]: Wish.of(row) for row in self._dropped for split in SPLITS}

    def of_record(self, name: str) -> Wish | None:
        """Return the last wish for the results, the tuning or the predictions of a cell."""
        return self._cells.get(name) or self._set_aside.get(name)

    def of_model(self, model_key: str) -> Wish | None:
        """Return the last wish for a cell of a model."""
        return self._models.get(model_key)

    def of_features(self, item: FeatureSet) -> Wish | None:
        """Return the last wish for a cell that reads a feature set."""
        return self._features.get(item)

    def of_keys(self, keys: Collection[str]) -> Wish | None:
        """Return the last wish for a cell that reads a feature set with one of these keys."""
        found = [self._keys[key] for key in keys if key in self._keys]
        return max(found, key=lambda wish: wish.wanted_at, default=None)

    def of_samples(self, item: SampleSet) -> Wish | None:
        """Return the last wish for features of these images."""
        return self._samples.get(item)

    @cached_property
    def _samples(self) -> dict[SampleSet, Wish]:
        """The image tables that feature sets, or the records of datasets, lead to."""
        datasets = {row["dataset"]: Wish.of(row) for row in self._dropped}
        found: dict[SampleSet, Wish] = {}
        for name in sorted(datasets.keys() & self._store.names("datasets")):
            for row in self._store.read_record("datasets", name).to_pylist():
                found |= {SampleSet(name, split, row[f"{split}_samples"]): datasets[name] for split in SPLITS}
        stock = self._store.stock()
        there = [item for item in self._features if stock.has(item)]
        with ThreadPoolExecutor(_THREADS) as pool:
            keys = pool.map(lambda item: _samples_key(self._store, item), there)
            named = list(zip(there, keys, strict=True))
        for item, key in sorted(named, key=lambda one: self._features[one[0]].wanted_at):
            if key:
                found[SampleSet(item.dataset, item.split, key)] = self._features[item]
        return found

    @cached_property
    def _set_aside(self) -> dict[str, Wish]:
        """The results that were fitted again and are kept under another name, which no study has wanted by that."""
        known = {_grain(row): Wish.of(row) for row in _in_order([*self._wanted, *self._dropped])}
        tables = self._store.record_tables("results")
        rows = {name: table.slice(0, 1).to_pylist()[0] for name, table in tables.items() if table.num_rows}
        return {name: known[_grain(row)] for name, row in rows.items() if row["replaced"] and _grain(row) in known}


def forget(store: FeatureStore, still: Collection[Wish], *, before: datetime) -> None:
    """Remove the dropped cells that lead to nothing any more.

    Parameters
    ----------
    store : FeatureStore
    still : collection of Wish
        The last wishes of what is there.
    before : datetime
        Time at which that was found out; what was dropped since stays.

    Raises
    ------
    StoreError
        If the store cannot be read or written.
    """
    known = {(wish.study, wish.cell) for wish in still}
    for study in sorted(store.names("dropped_cells")):
        rows = store.read_record("dropped_cells", study).to_pylist()
        kept = [row for row in rows if (row["study"], row["cell"]) in known or row["dropped_at"] > before]
        if not kept:
            store.storage.delete(layout.record_path("dropped_cells", study))
        elif len(kept) < len(rows):
            store.publish("dropped_cells", study, rows_table("dropped_cells", kept))


def _in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["wanted_at"])


def _grain(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _GRAIN)


def _samples_key(store: FeatureStore, item: FeatureSet) -> str | None:
    try:
        key: str | None = store.manifest(item).get("samples")
    except DamagedFileError:  # it leads to nothing
        return None
    return key
