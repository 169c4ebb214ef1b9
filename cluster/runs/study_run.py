"""A study -> a store that holds all it wants. Failures are recorded, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from cluster.pool.local_pool import LocalPool
from cluster.reporting.events import Note, Reporter, Reporters, RunStarted
from cluster.reporting.progress_table import ProgressTable
from cluster.runs.alike_names import alike_names
from cluster.runs.rehearsals import rehearsed
from cluster.runs.same_name import check_same, is_of_another, left_behind
from cluster.study.study_file import Study
from cluster.work import kinds
from cluster.work.contract import Run, Work
from cluster.work.kinds.analysis import Analysis
from cluster.work.ledger import Ledger, Summary, failures_of
from cluster.work.pairs import Pairs
from cluster.work.rates import Rates
from cluster.work.rounds import Pool, carry_out
from cluster.work.store_inventory import Inventory
from cluster.work.wanted_features import wanted_features
from featurestore import FeatureStore, registry
from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.images.splits import Dataset
from featurestore.networks import backbones, user_modules
from featurestore.networks.identity import Model, identify_all
from featurestore.networks.remembered import remembering
from featurestore.store.feature_store import rows_table
from featurestore.store.schema import SPLITS
from featurestore.store.wishes import wishes_of
from probes import metrics

_THREADS = 16  # an object store takes its time for each record
_MANY_SETS = 1000
"""So many manifests take some seconds to read."""
_ONCE = "An earlier version made them; this happens once, and saves the next runs from looking for their files."


def run_study(
    study: Study,
    store: FeatureStore,
    *,
    pool: Pool | None = None,
    reporter: Reporter,
    retry_failed: bool = False,
    analyse: bool = False,
    replace: bool = False,
    accept_drift: bool = False,
) -> Summary:
    """Compute everything that `study` wants and `store` does not have.

    Parameters
    ----------
    study : Study
    store : FeatureStore
    pool : Pool, optional
        Workers; by default this process.
    reporter : Reporter
        Receiver of the events.
    retry_failed : bool
        Whether failed work is tried again although nothing that it depends on has changed.
    analyse : bool
        Whether the features are analysed, too, as `analyse_stored` does.
    replace : bool
        Whether the study may take the place of another file's that was run under its name.
    accept_drift : bool
        Whether a network counts as the same that gives other features here than those that are stored.

    Raises
    ------
    ConfigurationError
        If the study names something that does not exist, or has the name of another. Nothing is computed then.
    StoreError
        If the store cannot be written.
    """
    find_modules(study)
    former = wishes_of(store, study.name)
    notes = list(alike_names(study, store))  # before anything is written
    if not replace and is_of_another(former, study.file):
        _check_same(study, store, former)
    reporter = Reporters(reporter, ProgressTable(study.name, store))
    models_named, datasets_named = (tuple(spec.name for spec in specs) for specs in (study.models, study.datasets))
    reporter.tell(RunStarted(study.name, store.uri, models_named, datasets_named, version("probestore")))
    for note in notes:
        reporter.tell(Note(note))
    before = {} if retry_failed else failures_of(study.name, store)
    ledger = Ledger(study.name, store, reporter, before, study_file=study.file, wishes=former)
    run = begin(study, store, ledger, reporter)
    run.accept_drift = accept_drift
    ledger.summary.nothing_usable = not (run.models and run.datasets)
    _record_catalogue(store, run)
    if ledger.summary.nothing_usable:
        return ledger.close()
    if run.inventory.n_unknown >= _MANY_SETS:
        reporter.tell(Note(f"{run.inventory.n_unknown:,} complete sets are listed in the table sets. {_ONCE}"))
    run.inventory.note_sets()
    works = works_of(run)  # which record what is wanted
    if replace:
        for note in left_behind(study.name, former=former, wishes=ledger.wishes_now(former)):
            reporter.tell(Note(note))
    store.save_study(study.name, study.text, study.file)
    if analyse:
        works.append(Analysis(run))
    carry_out(works, pool or LocalPool(cluster=study.cluster), ledger, reporter)
    return ledger.close()


def _check_same(study: Study, store: FeatureStore, former: pa.Table) -> None:
    """Find out what a run would want, and check that it does not take the place of another study."""
    silent = Reporters()
    ledger = Ledger(study.name, None, silent, failures_of(study.name, store), study_file=study.file)
    works_of(begin(study, store, ledger, silent))
    check_same(study.name, study.file, store, former=former, wishes=ledger.wishes_now(former))


def begin(
    study: Study, store: FeatureStore | None, ledger: Ledger, reporter: Reporter, rates: Rates | None = None
) -> Run:
    """Identify the models of a study, and open its datasets and say what is odd in them. Nothing is computed."""
    with remembering():
        models, datasets = identified(study, ledger.fail), opened(study, ledger.fail)
        for model in models.values():
            if said := backbones.accuracy_note(model.spec):
                reporter.tell(Note(said))
        for name, dataset in datasets.items():
            for note in dataset.notes:
                reporter.tell(Note(f"Dataset {name}: {note}"))
        inventory = Inventory(store)
        wanted = wanted_features(study.extract, models.values(), datasets.values(), inventory.overflowed)
        inventory.look(target for item in wanted for target in item.sets.values())
        inventory.look(dataset.samples(split) for dataset in datasets.values() for split in SPLITS)
        lacking = {item.model.name for item in wanted if not all(map(inventory.has, item.sets.values()))}
        models = rehearsed(
            models, lacking, study.extract.taps, fail=ledger.fail, note=lambda text: reporter.tell(Note(text))
        )
    wanted = [item for item in wanted if item.model.name in models]
    return Run(store, inventory, Pairs(), ledger, reporter.tell, study, models, datasets, wanted, rates or Rates())


def works_of(run: Run) -> list[Work]:
    """Return the work of every kind that the study of a run asks for. Each file of `cluster.work.kinds` is asked."""
    found = (registry.load(kinds, "kind of work", name).of_study for name in _in_order(registry.names(kinds)))
    return [work for of_study in found if (work := of_study(run)) is not None]


def _in_order(names: Iterable[str]) -> list[str]:
    """Return kinds of work with the features first, because they say which pairs there are."""
    return sorted(names, key=lambda name: (name != "features", name))


def find_modules(study: Study) -> None:
    """Let modules of ``python:`` models be found beside the study file."""
    user_modules.look_in(study.folder)


def identified(study: Study, fail: Callable[..., None]) -> dict[str, Model]:
    """Return the models of a study by name. `fail` is called as `Ledger.fail` for those that cannot be identified."""
    models = {}
    found = identify_all(study.models, resize=study.extract.resize, compute=study.extract.compute)
    for spec, model in zip(study.models, found, strict=True):
        if isinstance(model, UnknownNameError):
            raise model
        if isinstance(model, Exception):
            fail("model", model, model=spec.name)
        else:
            models[spec.name] = model
    return models


def opened(study: Study, fail: Callable[..., None]) -> dict[str, Dataset]:
    """Return the datasets of a study by name. `fail` is called as `Ledger.fail` for those that cannot be used."""
    datasets = {}
    for spec in study.datasets:
        try:
            dataset = Dataset(spec)
            _check_metric(dataset)
            datasets[spec.name] = dataset
        except UnknownNameError:
            raise
        except Exception as error:  # files of a user may break any reader in its own way
            fail("dataset", error, dataset=spec.name)
    return datasets


def _check_metric(dataset: Dataset) -> None:
    """Check that the headline metric is defined for the dataset and is a share that is better if higher."""
    usable = [name for name in metrics.names(multilabel=dataset.multilabel) if metrics.by_name(name).higher_is_better]
    if dataset.spec.metric not in usable:
        task = "an image can have several labels" if dataset.multilabel else "every image has one label"
        raise ConfigurationError(
            f"The metric of dataset {dataset.spec.name!r} must be one of {', '.join(usable)}, because {task} and the "
            f"leaderboard averages log-odds. Got {dataset.spec.metric!r}."
        )


def _record_catalogue(store: FeatureStore, run: Run) -> None:
    """Record the models and the datasets whose records in the store are missing or differ."""
    now, new = datetime.now(UTC), []
    for table, items in (("models", run.models), ("datasets", run.datasets)):
        known = {row[table[:-1]]: row for row in store.read_records(table)}
        for name, item in items.items():
            rows = rows_table(table, [{**item.record(), "recorded_at": now}])
            if _but_time(rows.to_pylist()[0]) != _but_time(known.get(name, {})):
                new.append((table, name, rows))
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda record: store.publish(*record), new))


def _but_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "recorded_at"}
