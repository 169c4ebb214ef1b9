"""Runs over the features and predictions of a store: probes, analyses, metrics. They need no network and no image."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cluster.pool.local_pool import LocalPool
from cluster.reporting.events import Note, Reporter, Reporters, RunStarted
from cluster.reporting.progress_table import ProgressTable
from cluster.runs.same_name import is_of_another
from cluster.study.probe_settings import ProbeKeys, ProbeSettings
from cluster.work.contract import Run, Work
from cluster.work.kinds.analysis import Analysis
from cluster.work.kinds.probes import Probes
from cluster.work.kinds.rescore import Rescore
from cluster.work.ledger import Ledger, Summary, failures_of
from cluster.work.pairs import Pair, Pairs
from cluster.work.rounds import Pool, carry_out
from cluster.work.store_inventory import Inventory
from featurestore import FeatureSet, FeatureStore, SplitSets
from featurestore.errors import MissingFeaturesError, UnknownNameError
from featurestore.plain_text import shell_command
from featurestore.store.layout import content_key
from featurestore.store.schema import SPLITS
from featurestore.store.wishes import wishes_of
from probes import metrics
from queries.asking.database import Database

_LONGEST_NAME = 100
_SQL = Path(__file__).parent
_MADE_AGAIN = ("results", "tuning", "predictions", "neighbours", "representations", "similarities")
"""Tables that the runs of this file make: what of them is gone keeps no pair back."""


def add_probes(
    settings: ProbeSettings,
    store: FeatureStore,
    *,
    pool: Pool | None = None,
    reporter: Reporter,
    retry_failed: bool = False,
) -> Summary:
    """Fit probes on every model and dataset whose features the store holds, and compute no cell twice.

    The cells of the studies that were run say which features belong together.

    Parameters
    ----------
    settings : ProbeSettings
    store : FeatureStore
    pool : Pool, optional
        Workers; by default this process.
    reporter : Reporter
        Receiver of the events.
    retry_failed : bool
        Whether failed work is tried again although nothing that it depends on has changed.

    Raises
    ------
    MissingFeaturesError
        If no features are stored.
    StoreError
        If the store cannot be written.
    """
    pairs = stored_pairs(store, reporter)
    if settings.n_per_class:
        pairs = _with_class_counts(store, pairs)
    command = probe_command(settings)
    name = _own_name(settings, command, store)
    return _run(name, pairs, lambda run: Probes(run, settings), store, pool, reporter, retry_failed, command)


def analyse_stored(
    store: FeatureStore,
    models: Sequence[str] = (),
    *,
    pool: Pool | None = None,
    reporter: Reporter,
    retry_failed: bool = False,
) -> Summary:
    """Compute the neighbours, representations and similarities that a store lacks.

    Parameters
    ----------
    store : FeatureStore
    models : sequence of str
        Models to look at; by default all whose features are stored.
    pool, reporter, retry_failed
        As for `add_probes`.

    Raises
    ------
    MissingFeaturesError
        If no features are stored.
    UnknownNameError
        If no features of one of `models` are stored.
    StoreError
        If the store cannot be written.
    """
    pairs = stored_pairs(store, reporter, to="analyse")
    known = sorted({pair.model for pair in pairs})
    for name in models:
        if name not in known:
            raise UnknownNameError("model", name, known, f"Features are stored of: {', '.join(known)}.")
    return _run("analyse", pairs, lambda run: Analysis(run, models), store, pool, reporter, retry_failed)


def rescore_stored(
    store: FeatureStore,
    names: Sequence[str] = (),
    *,
    pool: Pool | None = None,
    reporter: Reporter,
    retry_failed: bool = False,
) -> Summary:
    """Add metrics to the results of every cell whose predictions are stored.

    Parameters
    ----------
    store : FeatureStore
    names : sequence of str
        Metrics to add; by default all that are defined for a cell.
    pool, reporter, retry_failed
        As for `add_probes`.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    StoreError
        If the store cannot be written.
    """
    wanted = {metrics.by_name(name).name for name in names} or {metric.name for metric in metrics.METRICS}
    rows = list(_lacking(store, wanted))
    return _run("rescore", [], lambda run: Rescore(run, rows), store, pool, reporter, retry_failed)


def _run(
    name: str,
    pairs: Iterable[Pair],
    make: Callable[[Run], Work],
    store: FeatureStore,
    pool: Pool | None,
    reporter: Reporter,
    retry_failed: bool,
    command: str | None = None,
) -> Summary:
    """Carry out one kind of work on pairs whose features are complete."""
    reporter = Reporters(reporter, ProgressTable(name, store))
    known = Pairs()
    known.want(pairs)
    models, datasets = (tuple(dict.fromkeys(getattr(pair, kind) for pair in known)) for kind in ("model", "dataset"))
    reporter.tell(RunStarted(name, store.uri, models, datasets, version("probestore")))
    for pair in known:
        known.arrive(pair.place)
    before = {} if retry_failed else failures_of(name, store)
    ledger = Ledger(name, store, reporter, before, study_file=command)
    inventory = Inventory(store)
    inventory.look(target for pair in known for target in pair.features.sets())
    run = Run(store, inventory, known, ledger, reporter.tell)
    carry_out([make(run)], pool or LocalPool(), ledger, reporter)
    return ledger.close()


def _lacking(store: FeatureStore, wanted: set[str]) -> Iterator[dict[str, Any]]:
    """Return the cells whose predictions are stored, with the wanted metrics that each lacks."""
    with Database(store, gaps=_MADE_AGAIN) as database:
        rows = database.run_file(_SQL / "scored_cells.sql").to_pylist()
    predicted = store.names("predictions")
    for row in rows:
        if row["cell"] in predicted:
            lacking = sorted(wanted.intersection(_defined(row)).difference(row["metrics"]))
            yield {name: row[name] for name in ("cell", "model", "tap", "dataset")} | {"lacking": lacking}


def _defined(row: dict[str, Any]) -> set[str]:
    """Return the metrics that are defined for a cell; for both kinds of labels if no record describes its dataset."""
    tasks = (False, True) if row["multilabel"] is None else (row["multilabel"],)
    # Stores that do not say so were written when every probe gave probabilities.
    probabilistic = row["probabilistic"] is not False
    return {name for multilabel in tasks for name in metrics.names(multilabel=multilabel, probabilistic=probabilistic)}


def study_name(settings: ProbeSettings) -> str:
    """Return the name of the study whose cells the command `probe` wants: ``probe+knn+ridge``."""
    name = "+".join(["probe", *settings.probes])
    return name if len(name) <= _LONGEST_NAME else f"probe+{content_key({'probes': settings.probes})}"


def _own_name(settings: ProbeSettings, command: str, store: FeatureStore) -> str:
    """Return the name of the study of a command `probe`, or one like it if a study file has taken that name."""
    name = study_name(settings)
    while is_of_another(wishes_of(store, name), command):
        name += "-2"
    return name


def probe_command(settings: ProbeSettings) -> str:
    """Return the command that wants the cells of these settings, as it is typed; without the store."""
    words = [word for name in settings.probes for word in ("--probe", name)]
    words += [word for n in settings.n_per_class for word in ("--n-per-class", str(n))]
    for name in ("solver", "few_shot_seeds", "seed"):
        if (value := getattr(settings, name)) != getattr(ProbeKeys(), name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for probe, options in settings.options.items():
        own = {name: value for name, value in asdict(options).items() if value != getattr(type(options)(), name)}
        words += [word for name, value in own.items() for word in ("-o", f"{probe}.{name}={json.dumps(value)}")]
    return shell_command("probestore", "probe", *words)


def stored_pairs(store: FeatureStore, reporter: Reporter, *, to: str = "probe") -> list[Pair]:
    """Return every model and dataset whose features the store holds, as the study wants them that was run last.

    Parameters
    ----------
    store : FeatureStore
    reporter : Reporter
        Receiver of a note about features that no study puts together.
    to : str
        Verb for the error: what is to be done with them.

    Raises
    ------
    MissingFeaturesError
        If no features are stored.
    """
    complete = {item for item in store.sets() if isinstance(item, FeatureSet)}
    found: dict[tuple[str, ...], Pair] = {}
    for pair in _wanted_pairs(store):  # the latest wish first; an earlier one may have keys that are superseded
        if complete.issuperset(pair.features.sets()):
            found.setdefault((pair.model, pair.dataset, pair.setting, pair.tap), pair)
    _say_what_is_left_out(complete, list(found.values()), reporter)
    if not found:
        raise MissingFeaturesError(
            f"There is nothing to {to} in {store.uri}: no model and dataset has complete features of train, val and "
            "test that a study wants. Run the study: probestore run STUDY."
        )
    return list(found.values())


def _wanted_pairs(store: FeatureStore) -> Iterator[Pair]:
    with Database(store, gaps=_MADE_AGAIN) as database:
        yield from map(_pair, database.run_file(_SQL / "stored_pairs.sql").to_pylist())


def _pair(row: dict[str, Any]) -> Pair:
    bound = {field.name: row.pop(field.name) for field in fields(SplitSets)}
    return Pair(features=SplitSets(**bound), **row)


def _with_class_counts(store: FeatureStore, pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs with the numbers of training images of each class, where the store has them."""
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    with Database(store, gaps=_MADE_AGAIN) as database:
        for row in database.run_file(_SQL / "class_counts.sql").to_pylist():
            counts[row["dataset"]][row["label"]] = row["n_images"]
    return [
        replace(pair, class_counts=tuple(counts[pair.dataset][label] for label in range(pair.n_classes)))
        if pair.dataset in counts
        else pair
        for pair in pairs
    ]


def _say_what_is_left_out(complete: set[FeatureSet], pairs: list[Pair], reporter: Reporter) -> None:
    """Tell the reporter which models and datasets have features that no current cell puts together."""
    splits: dict[tuple[str, str], set[str]] = {}
    for item in complete:
        splits.setdefault((item.model, item.dataset), set()).add(item.split)
    known = {(pair.model, pair.dataset) for pair in pairs}
    for model, dataset in sorted(place for place, found in splits.items() if found == set(SPLITS)):
        if (model, dataset) not in known:
            text = (
                f"{model} on {dataset} is left out: it has features, but no study says which of them belong together. "
            )
            reporter.tell(Note(f"{text}Run a study that wants them: probestore run STUDY."))
