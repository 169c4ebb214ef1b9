"""Find what a store holds and no study needs; remove it only when asked to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from featurestore.care.last_wishes import LastWishes, Wish, forget
from featurestore.errors import StoreError
from featurestore.store import layout
from featurestore.store.feature_store import FeatureStore
from featurestore.store.layout import FeatureSet, SampleSet, SplitSets
from featurestore.store.schema import SETS, SPLITS, TABLES
from featurestore.store.storage import StoredFile
from featurestore.store.wishes import removed_for_good

_THREADS = 16  # an object store takes its time for each file
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

    So do the rows of `sets` before manifests, and the results of a cell, which say that its predictions and its tuning
    are there. Dropped cells that lead to nothing that is left are forgotten.

    Raises
    ------
    StoreError
        If something cannot be removed.
    """
    garbage, now = list(garbage), datetime.now(UTC)
    removed = {item.place for item in garbage}
    left = {item.wanted_by for item in _of_any_age(store) if item.wanted_by and item.place not in removed}
    removed_for_good(store, {PurePosixPath(item.place).stem for item in garbage if item.kind == "results"})
    store.forget_sets([own for item in garbage if (own := layout.parse_folder(item.place))])
    records = sorted(
        (item for item in garbage if item.kind in TABLES), key=lambda item: (item.kind != "results", item.kind)
    )
    store.delete_files(file for item in records for file in item.files)
    others = [file for item in garbage if item.kind not in TABLES for file in item.files]
    with ThreadPoolExecutor(_THREADS) as pool:
        for files in _manifests_first(others):
            list(pool.map(store.storage.delete, files))
    for item in garbage:
        store.storage.remove_empty_folders(item.place)
    forget(store, left, before=now)


def _manifests_first(files: Sequence[str]) -> tuple[list[str], list[str]]:
    manifests = [file for file in files if file.endswith(f"/{layout.MANIFEST}")]
    return manifests, [file for file in files if not file.endswith(f"/{layout.MANIFEST}")]


def _of_any_age(store: FeatureStore) -> Iterator[Garbage]:
    listed: dict[str, list[StoredFile]] = defaultdict(list)
    for file in store.listed(""):
        listed[file.name.split("/")[0]].append(file)
    folders: dict[str, list[StoredFile]] = defaultdict(list)
    for table in SETS:
        for file in listed.pop(table, ()):
            folders[file.name.rpartition("/")[0]].append(file)
    with ThreadPoolExecutor(_THREADS) as pool:
        needed = _needed(store, folders, pool)
        yield from _sets(store, needed, folders, pool)
        yield from _records(listed, needed)
        yield from _analyses(store, listed, needed, pool)
    yield from _staged(listed[layout.STAGING])


def _needed(store: FeatureStore, folders: Mapping[str, list[StoredFile]], pool: Executor) -> _Needed:
    wanted = [row for study in sorted(store.names("cells")) for row in store.read_record("cells", study).to_pylist()]
    if not wanted:
        raise StoreError(
            f"No study in {store.uri} wants anything, so nothing says what is needed. To be rid of all, remove the "
            "store itself."
        )
    features = {item for row in wanted for item in SplitSets.of_cell(row).sets()}
    samples = _images_of_datasets(store, {row["dataset"] for row in wanted})
    return _Needed(
        cells={row["cell"] for row in wanted},
        features=features,
        samples=samples | _images_of_features(store, features, samples, folders, pool),
        model_keys={row["model_key"] for row in wanted},
        viewed={(row["model"], row["tap"], row["dataset"]) for row in wanted},
        last=LastWishes(store, wanted),
    )


def _images_of_features(
    store: FeatureStore,
    features: Collection[FeatureSet],
    known: Collection[SampleSet],
    folders: Mapping[str, list[StoredFile]],
    pool: Executor,
) -> set[SampleSet]:
    """Return the image tables, other than those that are `known` to be needed, that features name.

    A manifest is opened only where there is an image table of its split that may be garbage.
    """
    tables = {item for folder in folders if isinstance(item := layout.parse_folder(folder), SampleSet)}
    doubtful = {(item.dataset, item.split) for item in tables.difference(known)}
    asked = [
        item
        for item in features
        if (item.dataset, item.split) in doubtful and _is_complete(folders.get(item.folder, ()))
    ]
    keys = pool.map(lambda item: store.manifest(item).get("samples"), asked)
    return {SampleSet(item.dataset, item.split, key) for item, key in zip(asked, keys, strict=True) if key}


def _is_complete(files: Iterable[StoredFile]) -> bool:
    return any(file.name.endswith(f"/{layout.MANIFEST}") for file in files)


def _images_of_datasets(store: FeatureStore, wanted: Collection[str]) -> set[SampleSet]:
    """Return the image tables that the latest records of these datasets name."""
    columns = ["dataset", *(f"{split}_samples" for split in SPLITS)]
    rows = (row for row in store.record_rows("datasets", columns).to_pylist() if row["record"] in wanted)
    return {SampleSet(row["dataset"], split, row[f"{split}_samples"]) for row in rows for split in SPLITS}


def _sets(
    store: FeatureStore, needed: _Needed, folders: Mapping[str, list[StoredFile]], pool: Executor
) -> Iterator[Garbage]:
    kept: list[tuple[FeatureSet | SampleSet, list[StoredFile]]] = []
    for folder, files in folders.items():
        item = layout.parse_folder(folder)
        if isinstance(item, FeatureSet) and item not in needed.features:
            yield from _feature_garbage(item, files, needed)
        elif isinstance(item, SampleSet) and item not in needed.samples:
            wish = needed.last.of_samples(item)
            yield _garbage("samples", folder, "images of features that no cell reads", files, wish)
        elif item is not None and _is_complete(files):
            kept.append((item, files))
    for found in pool.map(lambda one: list(_unnamed(store, *one)), kept):
        yield from found


def _unnamed(store: FeatureStore, item: FeatureSet | SampleSet, files: list[StoredFile]) -> Iterator[Garbage]:
    """Yield the files of a complete set in whose place its manifest names those of another writer."""
    names = {file.name.rpartition("/")[2]: file for file in files}
    for name in sorted(store.unnamed(item, names)):
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


def _records(listed: Mapping[str, list[StoredFile]], needed: _Needed) -> Iterator[Garbage]:
    for table in _tables("cell"):
        for file in listed.get(table, ()):
            if _name(file) not in needed.cells and not layout.parse_import(file.name):
                wish = needed.last.of_record(_name(file))
                yield _garbage(table, file.name, "no study wants the cell", [file], wish)
    for table in _tables("model"):
        for file in listed.get(table, ()):
            if _name(file) not in needed.model_keys:
                wish = needed.last.of_model(_name(file))
                yield _garbage(table, file.name, "no cell uses the model", [file], wish)


def _analyses(
    store: FeatureStore, listed: Mapping[str, list[StoredFile]], needed: _Needed, pool: Executor
) -> Iterator[Garbage]:
    needed_keys = {item.key for item in needed.features}
    for table in _tables("features"):
        files = listed.get(table, ())
        for file, keys in zip(files, _keys(store, table, files, pool), strict=True):
            if unread := keys - needed_keys:
                wish = needed.last.of_keys(unread)
                yield _garbage(table, file.name, "no cell reads the features", [file], wish)


def _keys(store: FeatureStore, table: str, files: Sequence[StoredFile], pool: Executor) -> Iterable[set[str]]:
    """Return the keys of the features that each record of a table is of."""
    columns = [name for name in TABLES[table].schema.names if name.endswith("_key")]
    if not TABLES[table].gathered:
        rows = pool.map(lambda file: store.read_record(table, _name(file), columns=columns), files)
        return ({key for column in own.columns for key in column.unique().to_pylist()} for own in rows)
    keys: dict[str, set[str]] = {_name(file): set() for file in files}
    for row in store.record_rows(table, columns, listed=files).to_pylist():
        keys[row.pop("record")].update(row.values())
    return keys.values()


def _tables(needed_by: str) -> list[str]:
    return [name for name, table in TABLES.items() if table.needed_by == needed_by]


def _staged(files: Iterable[StoredFile]) -> Iterator[Garbage]:
    for file in files:
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
