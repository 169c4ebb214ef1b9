"""What a store's own rows say was made and is not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow.compute as pc

from featurestore.care.findings import Finding, gone
from featurestore.errors import StoreError
from featurestore.store import expected, layout
from featurestore.store.feature_store import FeatureStore
from featurestore.store.known_sets import COLUMNS, known_sets
from featurestore.store.storage import StoredFile
from featurestore.store.wishes import is_command

_ADVICE = "verify --mend says what makes it again"
_ANALYSED = ("setting", "model", "tap", "dataset", "train_key", "val_key", "test_key")


def lost(
    store: FeatureStore,
    files: Collection[StoredFile],
    pool: Executor,
    *,
    asking: Collection[str] = (),
) -> list[Finding]:
    """Return what is gone.

    What follows from records that are damaged or cannot be read, which have findings of their own, is not found.

    Parameters
    ----------
    store : FeatureStore
    files : collection of StoredFile
        All files of the store.
    pool : Executor
        Files are read in it.
    asking : collection of str
        Probes that need the network's own classifier.
    """
    search = _Search(store, files, pool, asking)
    found: list[Finding] = []
    for look in (
        search.known_sets,
        search.made,
        search.texts_and_progress,
        search.results_of_imports,
        search.classifiers,
        search.neighbours,
        search.measures,
        search.comparisons,
    ):
        with suppress(StoreError):
            found.extend(look())
    # A run may have written it since the files were listed.
    return [finding for finding in found if not finding.gone or not store.has_file(finding.place)]


@dataclass(frozen=True)
class _Search:
    """The questions about one store: what does each kind of row show to have been made?"""

    store: FeatureStore
    files: Collection[StoredFile]
    pool: Executor
    asking: Collection[str]

    @cached_property
    def names(self) -> set[str]:
        """Names of all files."""
        return {file.name for file in self.files}

    def made(self) -> Iterator[Finding]:
        """Yield what `expected` knows."""
        listed: dict[str, list[StoredFile]] = {table: [] for table in (*expected.LISTED, *expected.LISTED_FOR_SETS)}
        for file in self.files:
            listed.setdefault(file.name.split("/")[0], []).append(file)
        for one in [*expected.gone(self.store, listed=listed), *expected.gone_sets(self.store, listed=listed)]:
            yield _missing(one.file, one.why)

    def known_sets(self) -> Iterator[Finding]:
        """Yield the manifests, and the marks of overflows, that the table `sets` tells of."""
        known = known_sets(self.store.record_rows("sets", COLUMNS))
        for items, state, name in (
            (known.complete, layout.COMPLETE, layout.MANIFEST),
            (known.overflowed, layout.OVERFLOWED, layout.OVERFLOW),
        ):
            for item in items:
                if (file := f"{item.folder}/{name}") not in self.names:
                    row = layout.record_path("sets", layout.set_id(item, state))
                    what = f"the file is missing, but {row} says that the set is {state}"
                    yield gone(file, what, _ADVICE, remove=[row])

    def texts_and_progress(self) -> Iterator[Finding]:
        """Yield the text and the progress of studies that have ended a run. The command `probe` has no text."""
        cells = self.store.record_rows("cells", ["study", "study_file", "made"])
        ended = cells.filter(pc.is_valid(cells.column("made"))).group_by(["study", "study_file"]).aggregate([])
        for row in ended.to_pylist():
            has_text = row["study_file"] and not is_command(row["study_file"])
            texts = [layout.study_path(row["study"])] if has_text else []
            for file in (*texts, layout.record_path("progress", row["study"])):
                if file not in self.names:
                    yield _missing(file, f"the study {row['study']} has ended a run")

    def results_of_imports(self) -> Iterator[Finding]:
        """Yield the results of imports of which other rows are there."""
        for file in sorted(self.names):
            imported = layout.parse_import(file)
            if imported and (results := layout.import_path("results", imported[1])) not in self.names:
                yield _missing(results, f"{file} is of the same import")

    def classifiers(self) -> Iterator[Finding]:
        """Yield the classifiers that results were computed with."""
        wanted = set(self.store.record_rows("cells", ["model_key"]).column("model_key").to_pylist())
        rows = self.store.record_rows("results", ["probe", "model_key", "origin"]).to_pylist()
        used = {row["model_key"] for row in rows if row["origin"] is None and row["probe"] in self.asking}
        for key in sorted((used & wanted) - {None}):
            if (file := layout.record_path("heads", key)) not in self.names:
                yield _missing(file, "results were computed with this classifier")

    def neighbours(self) -> Iterator[Finding]:
        """Yield neighbours of which there are the representations, with which an analysis ends."""
        for row in self.store.record_rows("representations", _ANALYSED).to_pylist():
            if tuple(row[name] for name in _ANALYSED) not in self._with_neighbours:
                yield _of_analysis("neighbours", row, f"representations/{row['record']}.parquet was written after them")

    def measures(self) -> Iterator[Finding]:
        """Yield representations of which there are the neighbours, where an analysis has ended."""
        near = {place[1:4] for place in self._with_neighbours}
        for row in self._analysed:
            if _pair(row) in near - self._measured:
                yield _of_analysis("representations", row, "the analysis has ended, and its neighbours are there")

    def comparisons(self) -> Iterator[Finding]:
        """Yield comparisons of models all of which have been measured, where an analysis has ended."""
        rows = self.store.record_rows("similarities", ["tap", "dataset"]).to_pylist()
        compared = {(row["tap"], row["dataset"]) for row in rows}
        several = defaultdict(set)
        for row in self._analysed:
            if row["wanted"] > 1:
                several[row["tap"], row["dataset"]].add(_pair(row))
        for (tap, dataset), pairs in several.items():
            if (tap, dataset) not in compared and pairs <= self._measured:
                row = {"tap": tap, "dataset": dataset}
                yield _of_analysis("similarities", row, "the analysis of all its models has ended")

    @cached_property
    def _analysed(self) -> list[dict[str, Any]]:
        """Rows of progress of the models and datasets whose analysis has ended."""
        columns = ["stage", "model", "tap", "dataset", "wanted", "done"]
        rows = self.store.record_rows("progress", columns).to_pylist()
        return [row for row in rows if row["stage"] == "analysis" and row["done"] == row["wanted"]]

    @cached_property
    def _measured(self) -> set[tuple[str, str, str]]:
        """Model, tap and dataset of all representations."""
        return {_pair(row) for row in self.store.record_rows("representations", _ANALYSED).to_pylist()}

    @cached_property
    def _with_neighbours(self) -> set[tuple[str, ...]]:
        """Features of which there are neighbours, by the columns `_ANALYSED`."""

        def read(name: str) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = self.store.read_record("neighbours", name, columns=_ANALYSED)[:1].to_pylist()
            return rows

        found = self.pool.map(read, self.store.names("neighbours"))
        return {tuple(row[name] for name in _ANALYSED) for rows in found for row in rows}


def _pair(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["model"], row["tap"], row["dataset"]


def _missing(file: str, why: str) -> Finding:
    """Return the finding about a file that is gone. What is left of a cell without its predictions or tuning goes."""
    table, _, name = file.partition("/")
    remove = [f"results/{name}"] if table in ("predictions", "tuning") else []
    return gone(file, f"the file is missing, but {why}", _ADVICE, remove=remove)


def _of_analysis(table: str, row: Mapping[str, Any], why: str) -> Finding:
    """Return a finding about a file of a table, whose name is a hash that nothing here can tell."""
    of = f" of {row['model']}" if "model" in row else ""
    return gone(table, f"the {table}{of} on {row['dataset']} ({row['tap']}) are missing, but {why}", _ADVICE)
