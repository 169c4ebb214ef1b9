"""The plan of a study: what is wanted, done and missing in a store. Nothing is computed or written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster.reporting.events import Note, Part, Reporter, Reporters
from cluster.runs.alike_names import alike_names
from cluster.runs.estimate import Block, PairPlan
from cluster.runs.measuring import with_measured
from cluster.runs.same_name import check_same, left_behind
from cluster.runs.study_run import begin, find_modules, works_of
from cluster.study.study_file import Study
from cluster.work.contract import Cost, Run, Work
from cluster.work.ledger import Ledger, failures_of
from cluster.work.rates import Rates, rates_of
from featurestore import FeatureStore
from featurestore.errors import StoreError
from featurestore.store.commit import Storage
from featurestore.store.feature_store import foreign_files, lost_its_store_file
from featurestore.store.layout import STORE_FILE
from featurestore.store.schema import SETS, TABLES
from featurestore.store.wishes import wishes_of
from queries.asking.database import Database

_SQL = Path(__file__).parent


def existing_store(uri: str, storage_options: Mapping[str, str] | None = None) -> FeatureStore | None:
    """Open the store at `uri`. Return None if there is none and one could be made.

    Raises
    ------
    DamagedFileError
        If its store.json is damaged or gone.
    StoreError
        If `uri` holds files that are no store.
    """
    storage = Storage(uri, storage_options)
    if storage.kind(STORE_FILE) == "file":
        return FeatureStore.open(uri, storage_options=storage_options)
    names = storage.list_files("") if storage.kind("") == "folder" else []
    if lost_its_store_file(names):
        return FeatureStore.open(uri, storage_options=storage_options)
    if storage.kind("") == "file" or foreign_files(names):
        raise StoreError(
            f"--store must name a store, or an empty or new folder. {storage.uri} is none of these; name another place."
        )
    return None


def plan_study(
    study: Study,
    store: FeatureStore | None,
    *,
    measure: bool = False,
    replace: bool = False,
    reporter: Reporter | None = None,
) -> list[PairPlan]:
    """Return the plan of every model on every dataset. Models and datasets that cannot be used have rows of their own.

    The plan is made of the same work that a run carries out.

    Parameters
    ----------
    study : Study
    store : FeatureStore, optional
        None stands for a store that is yet to be made.
    measure : bool
        Whether a few images are put through each network whose speed no earlier run has measured.
    replace : bool
        Whether the study may take the place of another file's that was run under its name.
    reporter : Reporter, optional
        Receiver of the notes on models and datasets.

    Raises
    ------
    ConfigurationError
        If the study names something that does not exist, or has the name of another.
    StoreError
        If the store cannot be read.
    """
    find_modules(study)
    list(alike_names(study, store))  # for its error
    silent = Reporters()
    before = failures_of(study.name, store) if store else {}
    former = wishes_of(store, study.name) if store else None
    ledger = Ledger(study.name, None, silent, before, study_file=study.file, wishes=former)
    run = begin(study, store, ledger, reporter or silent, _rates(store))
    if measure:
        run.rates = with_measured(run)
    unusable = [
        PairPlan(model=work.model, dataset=work.dataset, problem=work.failure.message)
        for work in ledger.summary.failures
    ]
    works = works_of(run)
    for note in (text for work in works for text in work.again()):
        (reporter or silent).tell(Note(note))
    if store and former is not None:
        _compare(study, store, ledger, reporter or silent, former=former, replace=replace)
    return [*unusable, *_rows(run, works)]


def _compare(
    study: Study, store: FeatureStore, ledger: Ledger, reporter: Reporter, *, former: pa.Table, replace: bool
) -> None:
    """Check that the study may be run under its name, or say what it would replace."""
    wishes = ledger.wishes_now(former)
    if not replace:
        check_same(study.name, study.file, store, former=former, wishes=wishes)
        return
    for note in left_behind(study.name, former=former, wishes=wishes):
        reporter.tell(Note(note))


def _rates(store: FeatureStore | None) -> Rates:
    if store is None:
        return Rates()
    with Database(store, gaps=(*SETS, *TABLES)) as database:
        progress = database.run_file(_SQL / "image_rates.sql").to_pylist()
        return rates_of(progress, database.run_file(_SQL / "cell_seconds.sql").to_pylist())


def _rows(run: Run, works: Sequence[Work]) -> Iterator[PairPlan]:
    """Sum the parts of all kinds of work of each model on each dataset."""
    found: dict[tuple[str, str], list[tuple[Work, Part, Cost]]] = {
        (dataset, model): [] for dataset in run.datasets for model in run.models
    }
    for work in works:
        for part in work.parts():
            found.setdefault((part.dataset, part.model), []).append((work, part, work.cost(part)))
    for (dataset, model), parts in found.items():
        yield _row(run, model, dataset, parts)


def _row(run: Run, model: str, dataset: str, parts: Sequence[tuple[Work, Part, Cost]]) -> PairPlan:
    costs = [cost for _, _, cost in parts]
    problems = [problem for cost in costs for problem in cost.problems]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    known = f"failed before, not tried again without --retry-failed: {problems[0]}{more}" if problems else None
    return PairPlan(
        model=model,
        dataset=dataset,
        images=sum(len(split.rows) for split in run.datasets[dataset].splits.values()),
        blocks={work.PIECES: _block([(p, c) for own, p, c in parts if own is work], work) for work, _, _ in parts},
        bytes_missing=_sum(cost.n_bytes for cost in costs),
        problem=known,
    )


def _block(parts: Sequence[tuple[Part, Cost]], work: Work) -> Block:
    wanted, done = sum(part.wanted for part, _ in parts), sum(part.done for part, _ in parts)
    amount, seconds = sum(cost.amount for _, cost in parts), _sum(cost.seconds for _, cost in parts)
    missing = wanted - done + sum(cost.pieces for _, cost in parts)
    return Block(wanted, missing, amount, work.UNIT, seconds)


def _sum(values: Iterable[Any]) -> Any:
    """Return the sum of values; None if one of them is None."""
    known = list(values)
    return None if None in known else sum(known)
