"""Probes on whatever a store holds already: no network is loaded and no image is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from cluster.pool.runtime import Runtime
from cluster.reporting.events import Note, Reporter, Reporters, RunStarted
from cluster.reporting.progress_table import ProgressTable
from cluster.study.probe_settings import ProbeSettings
from cluster.work.ledger import Ledger, Summary
from cluster.work.probing import run_probes, with_classifiers
from cluster.work.wanted_cells import Pair, cells_of
from featurestore import FeatureSet, FeatureStore, SplitSets
from featurestore.errors import MissingFeaturesError
from featurestore.store.layout import content_key
from featurestore.store.schema import SPLITS
from queries.asking.database import Database

_LONGEST_NAME = 100
_PAIRS = """
select
    model, coalesce(model_key, '') as model_key, dataset, metric, n_classes, multilabel, train_key, val_key, test_key,
    setting, tap, compute, inputs_key
from cells join datasets using (dataset)
group by all
order by max(wanted_at) desc, model, dataset
"""


def add_probes(
    settings: ProbeSettings, store: FeatureStore, *, runtime: Runtime, reporter: Reporter, retry_failed: bool = False
) -> Summary:
    """Fit probes on every model and dataset whose features the store holds, and compute no cell twice.

    Which features belong together is known from the cells of the studies that were run.

    Parameters
    ----------
    retry_failed : bool
        Try again what failed before, although nothing that it depends on has changed.

    Raises
    ------
    MissingFeaturesError
        If there are none.
    StoreError
        If the store cannot be written.
    """
    pairs = with_classifiers(stored_pairs(store, reporter), store)
    name = study_name(settings)
    reporter = Reporters(reporter, ProgressTable(name, store))
    models, datasets = (tuple(dict.fromkeys(getattr(pair, kind) for pair in pairs)) for kind in ("model", "dataset"))
    reporter.tell(RunStarted(name, store.uri, models, datasets, version("probestore")))
    ledger = Ledger(name, store, reporter, retry_failed=retry_failed)
    ledger.want([cell for pair in pairs for cell in cells_of(pair, settings)])
    run_probes(pairs, settings, store, ledger=ledger, runtime=runtime, reporter=reporter)
    return ledger.close()


def study_name(settings: ProbeSettings) -> str:
    """Name under which the cells of the command are wanted: ``probe+knn+ridge``."""
    name = "+".join(["probe", *settings.probes])
    return name if len(name) <= _LONGEST_NAME else f"probe+{content_key({'probes': settings.probes})}"


def stored_pairs(store: FeatureStore, reporter: Reporter, *, to: str = "probe") -> list[Pair]:
    """Every model and dataset whose features the store holds, as the study says that was run last.

    Parameters
    ----------
    reporter : Reporter
        Is told of features that no study puts together.
    to : str
        What is to be done with them, for the error.

    Raises
    ------
    MissingFeaturesError
        If there are none.
    """
    complete = {item for item in store.sets() if isinstance(item, FeatureSet)}
    found: dict[tuple[str, ...], Pair] = {}
    for pair in _wanted_pairs(store):  # the latest wish first; an earlier one may have keys that are superseded
        if complete.issuperset(pair.features.sets()):
            found.setdefault((pair.model, pair.dataset, pair.setting, pair.tap), pair)
    _say_what_is_left_out(complete, list(found.values()), reporter)
    if not found:
        raise MissingFeaturesError(
            f"There is nothing to {to} in {store.uri}: for no model and dataset are the train, val and test features "
            "complete that a study wants. Run the study: probestore run STUDY."
        )
    return list(found.values())


def _wanted_pairs(store: FeatureStore) -> Iterator[Pair]:
    with Database(store) as database:
        yield from map(_pair, database.sql(_PAIRS).to_pylist())


def _pair(row: dict[str, Any]) -> Pair:
    bound = {field.name: row.pop(field.name) for field in fields(SplitSets)}
    return Pair(features=SplitSets(**bound), **row)


def _say_what_is_left_out(complete: set[FeatureSet], pairs: list[Pair], reporter: Reporter) -> None:
    """Models and datasets that have all three splits under keys that no current cell puts together."""
    splits: dict[tuple[str, str], set[str]] = {}
    for item in complete:
        splits.setdefault((item.model, item.dataset), set()).add(item.split)
    known = {(pair.model, pair.dataset) for pair in pairs}
    for model, dataset in sorted(place for place, found in splits.items() if found == set(SPLITS)):
        if (model, dataset) not in known:
            text = f"Left out: {model} on {dataset}. It has features, but no study says which of them belong together; "
            reporter.tell(Note(f"{text}run one that wants them: probestore run STUDY."))
