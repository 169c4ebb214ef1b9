"""Analyses that have ended and whose records are not there: what nobody would miss otherwise.

The name of a record follows from the features that cells read, so that nothing follows from features that have changed
since, or from records that `probestore gc` has removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import pyarrow.compute as pc

from featurestore import FeatureStore, SplitSets
from featurestore.store.expected import Gone, still_gone
from featurestore.store.layout import record_path
from featurestore.store.storage import StoredFile
from probes.analysis.analyse import OF_A_DATASET, OF_A_SUBJECT, Subject, comparisons

TABLES = (*OF_A_SUBJECT, *OF_A_DATASET)
_PLACE = ("model", "tap", "dataset")


def gone_analyses(store: FeatureStore, listed: Mapping[str, Sequence[StoredFile]]) -> list[Gone]:
    """Return the records of analyses that were made and are not there.

    Parameters
    ----------
    store : FeatureStore
    listed : mapping of str to sequence of StoredFile
        Files by table: those of `TABLES`, and of cells, datasets and progress.

    Raises
    ------
    StoreError
        If a record of cells, datasets or progress cannot be read.
    """
    there = {file.name for table in TABLES for file in listed[table]}
    if not there:
        return []
    ended = _ended(store, listed)
    subjects = [subject for subject in _subjects(store, listed) if subject.features.place in ended]
    found = [lost for subject in subjects for lost in _of_subject(subject, there)]
    return still_gone(store, found or list(_of_comparisons(subjects, ended, there)))


def _ended(store: FeatureStore, listed: Mapping[str, Sequence[StoredFile]]) -> set[tuple[str, str, str]]:
    """Return the places of which the last run made all analyses, of those that it was asked for."""
    rows = store.record_rows("progress", ["stage", *_PLACE, "wanted", "done"], listed=listed["progress"])
    rows = rows.filter(pc.equal(rows.column("stage"), "analysis"))
    return {(row["model"], row["tap"], row["dataset"]) for row in rows.to_pylist() if row["done"] == row["wanted"]}


def _subjects(store: FeatureStore, listed: Mapping[str, Sequence[StoredFile]]) -> Iterator[Subject]:
    """Yield the features that made cells read."""
    classes = store.record_rows("datasets", ["dataset", "n_classes"], listed=listed["datasets"]).to_pylist()
    n_classes = {row["dataset"]: row["n_classes"] for row in classes}
    keys = [*_PLACE, "setting", "train_key", "val_key", "test_key"]
    cells = store.record_rows("cells", [*keys, "made"], listed=listed["cells"])
    made = cells.filter(pc.fill_null(cells.column("made"), False))
    for row in made.group_by(keys).aggregate([]).to_pylist():
        if (count := n_classes.get(row["dataset"])) is not None:
            setting = row.pop("setting")
            yield Subject(features=SplitSets(**row), setting=setting, n_classes=count)


def _of_subject(subject: Subject, there: set[str]) -> Iterator[Gone]:
    """Yield what a subject lacks, where its other record shows that these very features were analysed."""
    files = {table: record_path(table, subject.analysis(table)) for table in OF_A_SUBJECT}
    if not there.isdisjoint(files.values()):
        for table, file in files.items():
            if file not in there:
                yield Gone(table, file, f"the analysis of {subject} has ended")


def _of_comparisons(
    subjects: Sequence[Subject], ended: Collection[tuple[str, str, str]], there: set[str]
) -> Iterator[Gone]:
    """Yield the comparisons of all the models that the last run compared."""
    models = defaultdict(set)
    for model, tap, dataset in ended:
        models[tap, dataset].add(model)
    for comparison in comparisons(subjects):
        first = comparison.members[0].features
        compared = {one.features.model for one in comparison.members}
        measured = {record_path(table, one.analysis(table)) for one in comparison.members for table in OF_A_SUBJECT}
        file = record_path("similarities", comparison.analysis)
        of_all = len(compared) > 1 and compared == models[first.tap, first.dataset] and measured <= there
        if of_all and file not in there:
            yield Gone("similarities", file, f"the analysis of {comparison} has ended")
