"""A study -> a store that holds all it wants: identify, plan, extract, probe. Failures are recorded; others go on."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from cluster.extraction import Extraction
from cluster.ledger import Ledger, Summary
from cluster.probing import run_probes, with_classifiers
from cluster.progress import Reporter
from cluster.runtime import Runtime
from cluster.study import Study
from cluster.wanted_cells import Pair, cells_of
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.extract import Model, Storage, feature_set, identify
from featurestore.schema import SPLITS
from featurestore.splits import Dataset
from featurestore.store import rows_table
from probes import metrics


def run_study(study: Study, store: FeatureStore, *, runtime: Runtime, reporter: Reporter) -> Summary:
    """Compute whatever `study` wants and `store` does not have.

    Raises
    ------
    ConfigurationError
        For names that nothing answers to, before anything is computed.
    StoreError
        If the store cannot be written.
    """
    if str(study.folder) not in sys.path:
        sys.path.insert(0, str(study.folder))
    store.save_study(study.name, study.text)
    ledger = Ledger(study.name, store, reporter)
    models, datasets = _identified(study, ledger), _opened(study, ledger)
    _record_catalogue(store, models, datasets)
    extraction = Extraction(study, store, models, datasets, ledger=ledger, reporter=reporter)
    _want(study, extraction, ledger)
    while extraction.run(runtime):
        _want(study, extraction, ledger)
        reporter.note("Extracting again as float32 what float16 cannot hold.")
    made = [pair for pair in _pairs(extraction) if not extraction.failed(pair.model, pair.dataset)]
    not_made = [pair for pair in _pairs(extraction) if extraction.failed(pair.model, pair.dataset)]
    pairs = with_classifiers(made, store)
    ledger.want([cell for pair in [*pairs, *not_made] for cell in cells_of(pair, study.probe)])
    run_probes(pairs, study.probe, store, ledger=ledger, runtime=runtime, reporter=reporter)
    return ledger.summary


def _identified(study: Study, ledger: Ledger) -> dict[str, Model]:
    models = {}
    for spec in study.models:
        try:
            models[spec.name] = identify(spec, resize=study.extract.resize, compute=study.extract.compute)
        except UnknownNameError:
            raise
        except Exception as error:  # a user's own module may raise anything when it is imported
            ledger.fail("model", error, model=spec.name)
    return models


def _opened(study: Study, ledger: Ledger) -> dict[str, Dataset]:
    datasets = {}
    for spec in study.datasets:
        try:
            dataset = Dataset(spec)
            _check_metric(dataset)
            datasets[spec.name] = dataset
        except UnknownNameError:
            raise
        except Exception as error:  # files of a user may break any reader in its own way
            ledger.fail("dataset", error, dataset=spec.name)
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
    ledger.want([cell for pair in _pairs(extraction) for cell in cells_of(pair, study.probe)])


def _pairs(extraction: Extraction) -> list[Pair]:
    return [_pair(*pair) for pair in extraction.pairs()]


def _pair(model: Model, dataset: Dataset, storage: Storage) -> Pair:
    train_key, val_key, test_key = (feature_set(model, dataset, split, storage).key for split in SPLITS)
    return Pair(
        model=model.name,
        model_key=model.key,
        dataset=dataset.spec.name,
        metric=dataset.spec.metric,
        n_classes=len(dataset.classes),
        multilabel=dataset.multilabel,
        train_key=train_key,
        val_key=val_key,
        test_key=test_key,
    )
