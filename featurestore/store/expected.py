"""The files that the rows of a store say were made, and that are not there: what nobody would miss otherwise.

A row is proof only if the file was there before the row was written, so nothing follows from what a run began and did
not end, from what an earlier version did not write down, or from results that `probestore gc` has removed. Listings and
gathered records answer; no other file is opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import StoreError
from featurestore.store import layout, schema
from featurestore.store.feature_store import FeatureStore
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import StoredFile

LISTED = (
    "cells",
    "results",
    "predictions",
    "tuning",
    "models",
    "datasets",
    "dropped_cells",
    "imports",
    "progress",
)
"""The folders whose files tell `gone`."""
LISTED_FOR_SETS = ("cells", "datasets", "studies", *schema.SETS)
"""The folders whose files tell `gone_sets`."""


@dataclass(frozen=True, order=True)
class Gone:
    """A file that was made and is not there.

    Attributes
    ----------
    table : str
        The table whose rows are not complete without it.
    file : str
        Name in the store.
    why : str
        How the store knows, as a sentence without its end.
    """

    table: str
    file: str
    why: str


def gone(
    store: FeatureStore,
    *,
    listed: Mapping[str, Sequence[StoredFile]] | None = None,
    tables: Collection[str] = tuple(schema.TABLES),
) -> list[Gone]:
    """Return the records that were made and are not there, by table and file.

    Parameters
    ----------
    store : FeatureStore
    listed : mapping of str to sequence of StoredFile, optional
        Files by their first folder, each of `LISTED`, where they have just been listed; by default that is done here.
    tables : collection of str, optional
        Something is said of these only; files of the others of which nothing else depends, as `predictions`, need not
        be listed. By default of all.

    Raises
    ------
    StoreError
        If the store cannot be listed, or one of its records cannot be read.
    """
    files = listings(store) if listed is None else listed
    there = {file.name for table in LISTED for file in files.get(table, ())}
    cells = _wanted_cells(store, files)
    found = [
        *_cells(store, files),
        *_results(_made(cells), there),
        *_dropped(store, files, cells, there),
        *_of_results(store, files, there, tables),
        *_catalogue(cells),
        *_imports(store, files),
    ]
    lost = {one.file: one for one in found if one.file not in there and one.table in tables}
    return still_gone(store, sorted(lost.values()))


def gone_sets(
    store: FeatureStore,
    *,
    listed: Mapping[str, Sequence[StoredFile]] | None = None,
    among: Callable[[FeatureSet | SampleSet], bool] = lambda item: True,
) -> list[Gone]:
    """Return the manifests and shards of features and images that were made and are not there, by table and file.

    Parameters
    ----------
    store : FeatureStore
    listed : mapping of str to sequence of StoredFile, optional
        Files by their first folder, each of `LISTED_FOR_SETS`, where they have just been listed; by default that is
        done here. Nothing is said of features or of samples if they are not among them, so who asks for one of these
        lists no other.
    among : callable, optional
        Says whether something is to be said of a set. Files of the others need not be listed. By default of all.

    Raises
    ------
    StoreError
        If the store cannot be listed, or one of its records cannot be read.
    """
    files = listings(store, LISTED_FOR_SETS) if listed is None else listed
    there = {file.name for table in schema.SETS for file in files.get(table, ())}
    made = _made(_wanted_cells(store, files))
    found = [
        *(_images(store, files, made) if "samples" in files else ()),
        *_manifests(files, made),
        *_parts(store, files),
    ]
    folders = {_folder_of(one) for one in found}
    judged = {folder for folder in folders if (item := layout.parse_folder(folder)) and among(item)}
    lost = {one.file: one for one in found if one.file not in there and _folder_of(one) in judged}
    return _still_gone_sets(store, sorted(lost.values()))


def _folder_of(lost: Gone) -> str:
    return lost.file.rpartition("/")[0]


def _still_gone_sets(store: FeatureStore, lost: Sequence[Gone]) -> list[Gone]:
    """Return the same as `still_gone` of files of sets, of which only the folders are listed again."""
    folders = sorted(set(map(_folder_of, lost)))
    with ThreadPoolExecutor(_THREADS) as pool:
        there = {name for names in pool.map(store.storage.list_files, folders) for name in names}
    return [one for one in lost if one.file not in there]


def still_gone(store: FeatureStore, lost: Sequence[Gone]) -> list[Gone]:
    """Return what is not there now either: rows are read after files are listed, and a run may go on meanwhile.

    Raises
    ------
    StoreError
        If the store cannot be listed.
    """
    tables = {one.file.split("/")[0] for one in lost}
    there = {file.name for table in tables for file in store.listed(table)}
    return [one for one in lost if one.file not in there]


def listings(store: FeatureStore, folders: Collection[str] = LISTED) -> dict[str, list[StoredFile]]:
    """List folders of a store, all at once; return folder -> files, with records of packs as if they were files.

    Raises
    ------
    StoreError
        If the store cannot be listed.
    """
    with ThreadPoolExecutor(len(folders)) as pool:  # an object store takes its time for each
        return dict(zip(folders, pool.map(store.listed, folders), strict=True))


_OF_CELLS = (
    *("cell", "study", "model", "dataset", "tap", "train_key", "val_key", "test_key"),
    *("wanted_at", "study_file", "made"),
)
_OF_RESULTS = ("cell", "origin", "replaced", "n_test", "chosen")


_THREADS = 16  # an object store takes its time for each listing


def _wanted_cells(store: FeatureStore, files: Mapping[str, Sequence[StoredFile]]) -> pa.Table:
    """Return the rows of `cells` that are in the records of their studies."""
    cells = store.record_rows("cells", _OF_CELLS, listed=files.get("cells", ()))
    return cells.filter(pc.equal(cells.column("record"), cells.column("study")))


def _made(cells: pa.Table) -> pa.Table:
    """Return those that had results when a run of their study ended."""
    return cells.filter(pc.fill_null(cells.column("made"), False))


def _cells(store: FeatureStore, files: Mapping[str, Sequence[StoredFile]]) -> Iterator[Gone]:
    """Yield the wishes of the studies that have begun to fit: they are written before the progress of that is."""
    rows = store.record_rows("progress", ["stage", "study"], listed=files.get("progress", ()))
    for study in _unique(rows.filter(pc.equal(rows.column("stage"), "probes")), "record"):
        yield _record("cells", study, f"progress/{study}.parquet counts the cells that it wants")


def _results(made: pa.Table, there: Collection[str]) -> Iterator[Gone]:
    for cell, study in zip(*(made.column(name).to_pylist() for name in ("cell", "study")), strict=True):
        if _path("results", cell) not in there:
            yield _record("results", cell, f"it was there when a run of {study} ended")


def _dropped(
    store: FeatureStore, files: Mapping[str, Sequence[StoredFile]], cells: pa.Table, there: Collection[str]
) -> Iterator[Gone]:
    """Yield results that no study wants any more and that count in answers until they are removed for good."""
    rows = store.record_rows("dropped_cells", ["cell", "study", "made"], listed=files.get("dropped_cells", ()))
    rows = rows.filter(pc.fill_null(rows.column("made"), False))
    rows = rows.filter(pc.invert(pc.is_in(rows.column("cell"), cells.column("cell").combine_chunks())))
    for cell, study in zip(*(rows.column(name).to_pylist() for name in ("cell", "study")), strict=True):
        if _path("results", cell) not in there:
            yield _record("results", cell, f"it was there when {study} did not want it any more")


def _of_results(
    store: FeatureStore,
    files: Mapping[str, Sequence[StoredFile]],
    there: Collection[str],
    tables: Collection[str],
) -> Iterator[Gone]:
    """Yield what was written before the results of a cell: its predictions, and how its parameter was chosen."""
    rows = store.record_rows("results", _OF_RESULTS, listed=files.get("results", ()))
    rows = rows.filter(pc.and_(pc.equal(rows.column("cell"), rows.column("record")), pc.is_null(rows.column("origin"))))
    scored = pc.and_(pc.greater(rows.column("n_test"), 0), pc.is_null(rows.column("replaced")))
    for table, wanted in (("predictions", scored), ("tuning", pc.is_valid(rows.column("chosen")))):
        for name in _unique(rows.filter(wanted), "record") if table in tables else ():
            if _path(table, name) not in there:
                yield _record(table, name, f"it was there when results/{name}.parquet was written")


def _catalogue(cells: pa.Table) -> Iterator[Gone]:
    """Yield the records of models and datasets, which a run writes before it wants cells of them."""
    known = pc.or_(pc.is_valid(cells.column("study_file")), pc.is_valid(cells.column("made")))  # earlier versions: null
    for kind in ("model", "dataset"):
        for row in _distinct(cells.filter(known), kind, "study"):
            yield _record(f"{kind}s", row[kind], f"the study {row['study']} wants cells of it")


def _imports(store: FeatureStore, files: Mapping[str, Sequence[StoredFile]]) -> Iterator[Gone]:
    """Yield the rows of imports, whose command is written after them."""
    for row in store.record_rows("imports", ["origin", "added_to"], listed=files.get("imports", ())).to_pylist():
        file = layout.import_path(row["added_to"], row["origin"])
        yield Gone(row["added_to"], file, f"imports/{row['origin']}.parquet names the command that imported it")


def _images(store: FeatureStore, files: Mapping[str, Sequence[StoredFile]], made: pa.Table) -> Iterator[Gone]:
    """Yield the manifests of the image tables that a study had when it recorded its datasets and, later, its cells.

    A record of a dataset that is younger than the wish may name images that nobody has looked at yet. The wishes of the
    command `probe` are of features that were there before, whatever the record says.
    """
    studies = {file.name.removeprefix("studies/").removesuffix(".toml") for file in files.get("studies", ())}
    wanted = {
        row["dataset"]: row["wanted_at_max"]
        for row in made.filter(pc.is_in(made.column("study"), pa.array(sorted(studies), pa.string())))
        .group_by("dataset")
        .aggregate([("wanted_at", "max")])
        .to_pylist()
    }
    columns = ["dataset", "recorded_at", *(f"{split}_samples" for split in schema.SPLITS)]
    for row in store.record_rows("datasets", columns, listed=files.get("datasets", ())).to_pylist():
        if row["dataset"] in wanted and row["recorded_at"] <= wanted[row["dataset"]]:
            for split in schema.SPLITS:
                if key := row[f"{split}_samples"]:
                    folder = SampleSet(row["dataset"], split, key).folder
                    yield Gone("samples", f"{folder}/{layout.MANIFEST}", f"datasets/{row['dataset']}.parquet names it")


def _manifests(files: Mapping[str, Sequence[StoredFile]], made: pa.Table) -> Iterator[Gone]:
    """Yield the manifests of the features that cells were fitted on, where there still are parts of them."""
    folders = {file.name.rpartition("/")[0] for file in files.get("features", ()) if file.name.endswith(".parquet")}
    if len(folders) < len(made):  # a few sets of many: rows of other models are not looked at
        models = {item.model for folder in folders if isinstance(item := layout.parse_folder(folder), FeatureSet)}
        made = made.filter(pc.is_in(made.column("model"), pa.array(sorted(models), pa.string())))
    for split in schema.SPLITS:
        for row in _distinct(made, "model", "dataset", "tap", f"{split}_key", "study"):
            study = row.pop("study")
            item = FeatureSet(row["model"], row["dataset"], split, row[f"{split}_key"], row["tap"])
            if item.folder in folders:
                why = f"cells of the study {study} were fitted on these features"
                yield Gone("features", f"{item.folder}/{layout.MANIFEST}", why)


def _parts(store: FeatureStore, files: Mapping[str, Sequence[StoredFile]]) -> Iterator[Gone]:
    """Yield the parts that complete sets lack."""
    for table in schema.SETS:
        folders: dict[str, set[str]] = defaultdict(set)
        for file in files.get(table, ()):
            folder, _, name = file.name.rpartition("/")
            folders[folder].add(name)
        for folder, names in folders.items():
            if layout.MANIFEST in names and (item := layout.parse_folder(folder)):
                for name in _missing_parts(store, item, names):
                    yield Gone(table, f"{folder}/{name}", "the manifest of the set is there")


def _missing_parts(store: FeatureStore, item: FeatureSet | SampleSet, names: set[str]) -> Iterable[str]:
    """Return the parts that a set with a manifest lacks. Each part says of how many it is.

    The manifest, which knows their names, is read only where a shard has no file, or several.
    """
    shards = layout.files_of_shards(names)
    numbers = {part[1] for name in names if (part := layout.parse_part(name))}
    n_shards = min(numbers, default=0)
    if shards and len(shards) >= n_shards and all(len(own) == 1 for own in shards.values()):
        return ()
    try:
        return {part["name"] for part in store.manifest(item)["parts"]} - names
    except (StoreError, KeyError, TypeError):  # whoever reads the set is told
        return {layout.part_name(shard, n_shards) for shard in range(n_shards) if shard not in shards}


def _record(table: str, name: str, why: str) -> Gone:
    return Gone(table, _path(table, name), why)


def _path(table: str, name: str) -> str:
    """Return the path of a record by its name as a row has it, which nobody has checked."""
    return f"{table}/{name}.parquet"


def _unique(rows: pa.Table, column: str) -> list[Any]:
    found: list[Any] = pc.unique(rows.column(column)).to_pylist()
    return found


def _distinct(rows: pa.Table, *columns: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.group_by(list(columns)).aggregate([]).to_pylist()
    return found
