"""A study -> a store that holds all it wants: identify, plan, extract, probe. Failures are recorded; others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

from cluster.pool.runtime import Runtime
from cluster.reporting.events import Note, Reporter, Reporters, RunStarted
from cluster.reporting.progress_table import ProgressTable
from cluster.study.study_file import Study
from cluster.work.extraction import Extraction
from cluster.work.ledger import Ledger, Summary
from cluster.work.probing import run_probes, with_classifiers
from cluster.work.wanted_cells import Pair, cells_of
from cluster.work.wanted_features import WantedFeatures
from featurestore import FeatureStore, SplitSets
from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.images.splits import Dataset
from featurestore.networks.identity import Model, identify, inputs_key
from featurestore.store.feature_store import rows_table
from probes import metrics


def run_study(
    study: Study, store: FeatureStore, *, runtime: Runtime, reporter: Reporter, retry_failed: bool = False
) -> Summary:
    """Compute whatever `study` wants and `store` does not have.

    Parameters
    ----------
    retry_failed : bool
        Try again what failed before, although nothing that it depends on has changed.

    Raises
    ------
    ConfigurationError
        For names that nothing answers to, before anything is computed.
    StoreError
        If the store cannot be written.
    """
    find_modules(study)
    store.save_study(study.name, study.text)
    reporter = Reporters(reporter, ProgressTable(study.name, store))
    models_named, datasets_named = (tuple(spec.name for spec in specs) for specs in (study.models, study.datasets))
    reporter.tell(RunStarted(study.name, store.uri, models_named, datasets_named, version("probestore")))
    ledger = Ledger(study.name, store, reporter, retry_failed=retry_failed)
    models, datasets = identified(study, ledger.fail), opened(study, ledger.fail)
    _record_catalogue(store, models, datasets)
    extraction = Extraction(study, store, models, datasets, ledger=ledger, reporter=reporter)
    _want(study, extraction, ledger)
    while extraction.run(runtime):
        _want(study, extraction, ledger)
        reporter.tell(Note("Extracting again as float32 what float16 cannot hold."))
    wanted = extraction.wanted()
    pairs = with_classifiers([pair_of(item) for item in wanted if not extraction.failed(item)], store)
    not_made = [pair_of(item) for item in wanted if extraction.failed(item)]
    ledger.want([cell for pair in [*pairs, *not_made] for cell in cells_of(pair, study.probe)])
    run_probes(pairs, study.probe, store, ledger=ledger, runtime=runtime, reporter=reporter)
    return ledger.close()


def find_modules(study: Study) -> None:
    """Let Python find the modules of ``python:`` models, which lie beside the study file."""
    if str(study.folder) not in sys.path:
        sys.path.insert(0, str(study.folder))


def identified(study: Study, fail: Callable[..., None]) -> dict[str, Model]:
    """The models of a study by name; of those that cannot be identified, `fail` is told as `Ledger.fail` is."""
    models = {}
    for spec in study.models:
        try:
            models[spec.name] = identify(spec, resize=study.extract.resize, compute=study.extract.compute)
        except UnknownNameError:
            raise
        except Exception as error:  # a user's own module may raise anything when it is imported
            fail("model", error, model=spec.name)
    return models


def opened(study: Study, fail: Callable[..., None]) -> dict[str, Dataset]:
    """The datasets of a study by name; of those that cannot be used, `fail` is told as `Ledger.fail` is."""
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
    """The headline metric must be one that the task has and the leaderboard can use: a share, higher is better."""
    usable = [name for name in metrics.names(multilabel=dataset.multilabel) if metrics.by_name(name).higher_is_better]
    if dataset.spec.metric not in usable:
        task = "an image can have several labels" if dataset.multilabel else "every image has one label"
        raise ConfigurationError(
            f"The metric of dataset {dataset.spec.name!r} must be one of {', '.join(usable)}, because {task} and it is "
            f"averaged as log-odds. Got {dataset.spec.metric!r}."
        )


def _record_catalogue(store: FeatureStore, models: dict[str, Model], datasets: dict[str, Dataset]) -> None:
    now = datetime.now(UTC)
    for name, model in models.items():
        store.publish("models", name, rows_table("models", [{**model.record(), "recorded_at": now}]))
    for name, dataset in datasets.items():
        store.publish("datasets", name, rows_table("datasets", [{**dataset.record(), "recorded_at": now}]))


def _want(study: Study, extraction: Extraction, ledger: Ledger) -> None:
    ledger.want([cell for item in extraction.wanted() for cell in cells_of(pair_of(item), study.probe)])


def pair_of(item: WantedFeatures) -> Pair:
    """What a probe has to be told of wanted features."""
    dataset = item.dataset
    return Pair(
        features=SplitSets.of(item.sets),
        model_key=item.model.key,
        metric=dataset.spec.metric,
        n_classes=len(dataset.classes),
        multilabel=dataset.multilabel,
        compute=item.model.compute,
        inputs_key=inputs_key(item.model, dataset, item.storage, tap=item.tap),
    )
