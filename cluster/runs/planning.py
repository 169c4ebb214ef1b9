"""A study against a store: what is wanted, done and missing. Nothing is computed, loaded or written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from cluster.runs.estimate import CellStock, PairPlan, Rates, SetStock, pair_plan, rates_of
from cluster.runs.study_run import find_modules, identified, opened, pair_of
from cluster.study.study_file import Study
from cluster.work.extraction import extraction_key
from cluster.work.ledger import FailedWork, attempt_key, failures_of
from cluster.work.wanted_cells import cells_of
from cluster.work.wanted_features import WantedFeatures, wanted_features
from featurestore import FeatureStore
from featurestore.errors import Failure, StoreError
from featurestore.networks.taps import CLASSIFIER_INPUTS
from featurestore.store.commit import Storage
from featurestore.store.feature_store import Stock, foreign_files
from featurestore.store.layout import STORE_FILE
from featurestore.store.schema import SPLITS
from queries.asking.database import Database

_IMAGE_RATES = "select model, dataset, images_per_second from progress where stage = 'features'"
_CELL_TIMES = """
select probe, n_per_class, dataset, avg(seconds) as seconds
from (select distinct cell, probe, n_per_class, dataset, seconds from stored_results where origin is null)
group by all
"""


def existing_store(uri: str, storage_options: Mapping[str, str] | None = None) -> FeatureStore | None:
    """Open the store at `uri`; None where one could be made.

    Raises
    ------
    StoreError
        If something else is there.
    """
    storage = Storage(uri, storage_options)
    if storage.kind(STORE_FILE) == "file":
        return FeatureStore.open(uri, storage_options=storage_options)
    if storage.kind("") == "file" or foreign_files(storage.list_files("")):
        raise StoreError(f"{storage.uri} is neither a store nor an empty folder. Give the place of one with --store.")
    return None


def plan_study(study: Study, store: FeatureStore | None) -> list[PairPlan]:
    """The plan of every model on every dataset; models and datasets that cannot be used have a row of their own.

    Parameters
    ----------
    store : FeatureStore, optional
        None stands for one that is yet to be made.

    Raises
    ------
    ConfigurationError
        For names that nothing answers to.
    StoreError
        If the store cannot be read.
    """
    find_modules(study)
    unusable: list[PairPlan] = []

    def fail(stage: str, error: Exception, *, model: str | None = None, dataset: str | None = None) -> None:
        unusable.append(PairPlan(model=model, dataset=dataset, problem=Failure.of(error).message))

    models, datasets = identified(study, fail), opened(study, fail)
    known = _Known.of(study, store)
    items = wanted_features(study.extract, models.values(), datasets.values(), known.stock.overflowed)
    pairs = groupby(items, key=lambda item: (item.dataset.spec.name, item.model.name))
    return [*unusable, *(_pair(study, list(taps), known) for _, taps in pairs)]


@dataclass(frozen=True)
class _Known:
    """All that a plan has to know of a store."""

    stock: Stock
    results: Collection[str]
    heads: Collection[str]
    failures: Mapping[str, FailedWork]
    rates: Rates

    @classmethod
    def of(cls, study: Study, store: FeatureStore | None) -> _Known:
        if store is None:
            return cls(Stock({}), (), (), {}, Rates())
        with Database(store) as database:
            rates = rates_of(database.sql(_IMAGE_RATES).to_pylist(), database.sql(_CELL_TIMES).to_pylist())
        names = (store.names("results"), store.names("heads"))
        return cls(store.stock(), *names, failures_of(study.name, store), rates)


def _pair(study: Study, taps: list[WantedFeatures], known: _Known) -> PairPlan:
    sets = [_set_stock(item, split, known.stock) for item in taps for split in SPLITS]
    cells, failed = [], []
    for item in taps:
        complete = all(map(known.stock.has, item.sets.values()))
        if not complete:
            failed.append(known.failures.get(extraction_key(item, study.extract)))
        for key, cell in _cells(study, item, known, complete=complete):
            cells.append(cell)
            failed.append(None if cell.done else known.failures.get(attempt_key(key)))
    return pair_plan(sets, cells, known.rates, problem=_problem([work for work in failed if work]))


def _set_stock(item: WantedFeatures, split: str, stock: Stock) -> SetStock:
    dataset, target = item.dataset, item.sets[split]
    shards = set(range(dataset.n_shards(split)))
    missing = set() if stock.has(target) else shards - stock.shards(target)
    ranges = [dataset.shard_range(split, shard) for shard in missing]
    width = item.model.spec.feature_dim if item.tap in CLASSIFIER_INPUTS else None
    return SetStock(
        model=item.model.name,
        tap=item.tap,
        dataset=dataset.spec.name,
        split=split,
        images=len(dataset.splits[split].rows),
        shards=len(shards),
        missing_shards=len(missing),
        missing_images=sum(stop - start for start, stop in ranges),
        bytes_per_image=width * np.dtype(item.storage).itemsize if width else None,
    )


def _cells(study: Study, item: WantedFeatures, known: _Known, *, complete: bool) -> Iterator[tuple[str, CellStock]]:
    """The wanted cells, with their keys. Whether a network has a classifier is known once its features are there."""
    classifier = item.tap in CLASSIFIER_INPUTS and (not complete or item.model.key in known.heads)
    for cell in cells_of(replace(pair_of(item), classifier=classifier), study.probe):
        few = cell.n_per_class is not None
        yield cell.key, CellStock(cell.model, cell.dataset, cell.probe, few, cell.key in known.results)


def _problem(failed: list[FailedWork]) -> str | None:
    if not failed:
        return None
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"failed before, not tried again without --retry-failed: {failed[0].failure.message}{more}"
