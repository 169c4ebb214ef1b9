"""Find what a store holds and no study needs; remove it only when asked to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from featurestore.care.last_wishes import LastWishes, Wish, forget
from featurestore.errors import StoreError
from featurestore.store import layout
from featurestore.store.feature_store import FeatureStore
from featurestore.store.layout import FeatureSet, SampleSet, SplitSets
from featurestore.store.schema import SPLITS, TABLES
from featurestore.store.storage import Storage, StoredFile
from featurestore.store.wishes import removed_for_good

SAFE_AGE = timedelta(hours=24)
"""Files that are younger are never garbage: a run may be about to want them."""


@dataclass(frozen=True)
class Garbage:
    """A set or a file that no study needs.

    Attributes
    ----------
    kind : str
        Name of the table, or ``"staging"``.
    place : str
        Folder of a set, or a file.
    why : str
    files : tuple of str
        Names, in the order in which they are to be removed.
    n_bytes : int
        Size of all of them.
    modified : datetime
        Time of change of the youngest of them.
    wanted_by : Wish, optional
        Last wish of a study for it; None where nobody ever wanted it, or an older version did not record that.
    """

    kind: str
    place: str
    why: str
    files: tuple[str, ...]
    n_bytes: int
    modified: datetime
    wanted_by: Wish | None = None


@dataclass(frozen=True)
class _Needed:
    """Everything that the studies of a store need.

    Attributes
    ----------
    viewed : set of (model, tap, dataset)
        Whose features some cell reads, whatever their key.
    last : LastWishes
        Who wanted the rest.
    """

    cells: set[str]
    features: set[FeatureSet]
    samples: set[SampleSet]
    model_keys: set[str]
    viewed: set[tuple[str, str, str]]
    last: LastWishes


def find(store: FeatureStore, *, older_than: timedelta = SAFE_AGE) -> list[Garbage]:
    """List what no cell of any study needs and has not changed for `older_than`.

    That is: feature sets, complete or not, that no cell reads, and what was analysed of them; image tables of no such
    set and of no dataset record; results of cells that no study wants (any more); classifiers of models that no cell
    names; and staged files that their writers have left. What was imported was never wanted by a study, and stays.

    Raises
    ------
    StoreError
        If no study has been run, or what studies want cannot be read: then nothing is known to be garbage.
    """
    before = datetime.now(UTC) - older_than
    return sorted((item for item in _of_any_age(store) if item.modified < before), key=lambda item: item.place)


def remove(store: FeatureStore, garbage: Iterable[Garbage]) -> None:
    """Remove what `find` has found. A set that is removed is gone at once, never half there: its manifest goes first.

    So do the results of a cell, which say that its predictions and its tuning are there. Dropped cells that lead
    to nothing that is left are forgotten.

    Raises
    ------
    StoreError
        If something cannot be removed.
    """
    garbage, now = sorted(garbage, key=lambda item: item.kind != "results"), datetime.now(UTC)
    removed = {item.place for item in garbage}
    left = {item.wanted_by for item in _of_any_age(store) if item.wanted_by and item.place not in removed}
    removed_for_good(store, {PurePosixPath(item.place).stem for item in garbage if item.kind == "results"})
    store.delete_files(file for item in garbage for file in item.files)
    for item in garbage:
        store.storage.remove_empty_folders(item.place)
    forget(store, left, before=now)


def _of_any_age(store: FeatureStore) -> Iterator[Garbage]:
    needed = _needed(store)
    yield from _sets(store, needed)
    yield from _records(store, needed)
    yield from _analyses(store, needed)
    yield from _staged(store.storage)


def _needed(store: FeatureStore) -> _Needed:
    wanted = [row for study in sorted(store.names("cells")) for row in store.read_record("cells", study).to_pylist()]
    if not wanted:
        raise StoreError(
            f"No study in {store.uri} wants anything, so nothing says what is needed. To be rid of all, remove the "
            "store itself."
        )
    features = {item for row in wanted for item in SplitSets.of_cell(row).sets()}
    stock = store.stock()
    images = {
        SampleSet(item.dataset, item.split, key)
        for item in features
        if stock.has(item) and (key := store.manifest(item).get("samples"))
    }
    return _Needed(
        cells={row["cell"] for row in wanted},
        features=features,
        samples=images | _images_of_datasets(store, {row["dataset"] for row in wanted}),
        model_keys={row["model_key"] for row in wanted},
        viewed={(row["model"], row["tap"], row["dataset"]) for row in wanted},
        last=LastWishes(store, wanted),
    )


def _images_of_datasets(store: FeatureStore, wanted: set[str]) -> set[SampleSet]:
    """Return the image tables that the latest records of these datasets name."""
    rows = (row for name in wanted & store.names("datasets") for row in store.read_record("datasets", name).to_pylist())
    return {SampleSet(row["dataset"], split, row[f"{split}_samples"]) for row in rows for split in SPLITS}


def _sets(store: FeatureStore, needed: _Needed) -> Iterator[Garbage]:
    folders: dict[str, list[StoredFile]] = defaultdict(list)
    for file in [*store.storage.files("features"), *store.storage.files("samples")]:
        folders[file.name.rpartition("/")[0]].append(file)
    for folder, files in folders.items():
        item = layout.parse_folder(folder)
        if isinstance(item, FeatureSet) and item not in needed.features:
            yield from _feature_garbage(item, files, needed)
        elif isinstance(item, SampleSet) and item not in needed.samples:
            wish = needed.last.of_samples(item)
            yield _garbage("samples", folder, "images of features that no cell reads", files, wish)
        elif item is not None:
            yield from _unnamed(store, item, files)


def _unnamed(store: FeatureStore, item: FeatureSet | SampleSet, files: list[StoredFile]) -> Iterator[Garbage]:
    """Yield the files of a complete set in whose place its manifest names those of another writer."""
    names = {file.name.rpartition("/")[2]: file for file in files}
    for name in sorted(store.unnamed(item, names)) if layout.MANIFEST in names else ():
        why = "the manifest of its set names another file of the shard"
        yield _garbage(item.folder.split("/")[0], names[name].name, why, [names[name]])


def _feature_garbage(item: FeatureSet, files: list[StoredFile], needed: _Needed) -> Iterator[Garbage]:
    """Yield the files of a feature set that no cell reads.

    The mark that float16 was too small stays while the model is used: without it, float16 would be tried again.
    """
    if (item.model, item.tap, item.dataset) in needed.viewed:
        files = [file for file in files if not file.name.endswith(f"/{layout.OVERFLOW}")]
    if files:
        yield _garbage("features", item.folder, "no cell reads it", files, needed.last.of_features(item))


def _records(store: FeatureStore, needed: _Needed) -> Iterator[Garbage]:
    for table in _tables("cell"):
        for file in store.listed(table):
            if _name(file) not in needed.cells and not layout.parse_import(file.name):
                wish = needed.last.of_record(_name(file))
                yield _garbage(table, file.name, "no study wants the cell", [file], wish)
    for table in _tables("model"):
        for file in store.listed(table):
            if _name(file) not in needed.model_keys:
                wish = needed.last.of_model(_name(file))
                yield _garbage(table, file.name, "no cell uses the model", [file], wish)


def _analyses(store: FeatureStore, needed: _Needed) -> Iterator[Garbage]:
    keys = {item.key for item in needed.features}
    for table in _tables("features"):
        columns = [name for name in TABLES[table].schema.names if name.endswith("_key")]
        for file in store.listed(table):
            rows = store.read_record(table, _name(file), columns=columns)
            unread = {key for column in rows.columns for key in column.unique().to_pylist()} - keys
            if unread:
                wish = needed.last.of_keys(unread)
                yield _garbage(table, file.name, "no cell reads the features", [file], wish)


def _tables(needed_by: str) -> list[str]:
    return [name for name, table in TABLES.items() if table.needed_by == needed_by]


def _staged(storage: Storage) -> Iterator[Garbage]:
    for file in storage.files(layout.STAGING):
        if not _name(file).startswith(layout.TOKEN_PREFIX):  # its run may still need it, however old it is
            yield _garbage("staging", file.name, "its writer did not publish it", [file])


def _name(file: StoredFile) -> str:
    return file.name.rpartition("/")[2].removesuffix(".parquet")


def _garbage(kind: str, place: str, why: str, files: list[StoredFile], wanted_by: Wish | None = None) -> Garbage:
    manifest_first = sorted(files, key=lambda file: (not file.name.endswith(layout.MANIFEST), file.name))
    unknown = datetime.now(UTC)  # a file system without times: nothing on it is ever old enough
    return Garbage(
        kind,
        place,
        why,
        tuple(file.name for file in manifest_first),
        sum(file.size for file in files),
        max(file.modified or unknown for file in files),
        wanted_by,
    )
