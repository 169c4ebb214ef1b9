"""Remove from a store what is damaged, so that it is made anew, and write again what needs no computing.

Nothing is removed because it could not be read: only what was read and is not what was written, what rests on it, and
what says of it that it is done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.care.evidence_checks import check_evidence
from featurestore.care.findings import Finding
from featurestore.care.lost import lost
from featurestore.care.remaking import Remaking, Wishes
from featurestore.care.verify import Verified
from featurestore.errors import StoreError
from featurestore.store import commit, layout, schema
from featurestore.store.evidence import Evidence
from featurestore.store.feature_store import FeatureStore, mark_sealed
from featurestore.store.layout import FeatureSet, SplitSets
from featurestore.store.schema import TABLES
from featurestore.store.storage import Storage
from featurestore.store.wishes import removed_for_good

_MARK = f"/{layout.OVERFLOW}"
_THREADS = 16  # an object store takes its time for each file
_UNSIGNED = "nobody can tell whether it rests on features that were damaged"
_OF_FEATURES = "it was computed from features that are made anew"
_OF_CLASSIFIER = "the classifier is written with the first shard of features"


@dataclass(frozen=True)
class Mended:
    """What was done, and what makes again what is gone.

    Attributes
    ----------
    removed : mapping of str to str
        File -> why.
    rewritten : tuple of str
        Files that were written again.
    remaking : Remaking
    """

    removed: Mapping[str, str]
    rewritten: tuple[str, ...]
    remaking: Remaking


def mend(store: FeatureStore, verified: Verified, *, asking: Collection[str] = ()) -> Mended:
    """Remove what is damaged and what rests on it, and write store.json and the files of no rows again.

    No run may go on meanwhile.

    Parameters
    ----------
    store : FeatureStore
        Opened with ``to_mend=True``.
    verified : Verified
        What `verify` has found in it.
    asking : collection of str
        As for `verify`.

    Raises
    ------
    StoreError
        If something cannot be removed or written. Doing it again goes on from there.
    """
    wishes = Wishes(store)
    findings = [finding for finding in verified.findings if finding.mendable]
    removed, in_packs = _remove_packs(store, findings)
    missing: list[str] = []
    to_write: set[str] = set()
    while findings:
        why = {file: finding.what for finding in findings for file in finding.remove if file not in removed}
        gone = [finding.place for finding in findings if finding.gone]
        to_write.update(filter(_needs_no_computing, (*why, *gone)))
        why = {file: reason for file, reason in why.items() if file not in to_write}
        removed |= _remove(store, {**why, **_with_them(store, wishes, [*why, *gone], why)}, gone)
        missing.extend(file for file in gone if file not in to_write)
        known = {*removed, *missing, *to_write, *(finding.place for finding in findings)}
        # What is gone shows only where no record is damaged any more.
        findings = [finding for finding in _lost(store, asking) if finding.mendable and finding.place not in known]
    there = {file.name for file in store.listed("")} if in_packs else set()
    lost_files = {*removed, *missing, *in_packs}.difference(
        there, [file for file in removed if layout.parse_pack(file)]
    )
    removed_for_good(store, {PurePosixPath(file).stem for file in lost_files if file.startswith("results/")})
    rewritten = _write_again(store, to_write, verified)
    return Mended(removed, rewritten, wishes.remaking(sorted(lost_files)))


def _remove_packs(store: FeatureStore, findings: Iterable[Finding]) -> tuple[dict[str, str], list[str]]:
    """Remove damaged packs, without which no listing is possible; return them with the reasons, and their records."""
    packs = {file: one.what for one in findings for file in one.remove if layout.parse_pack(file)}
    records = [record for pack in packs for record in store.known_records(pack)]
    for pack in packs:
        store.storage.delete(pack)
    return packs, records


def _lost(store: FeatureStore, asking: Collection[str]) -> list[Finding]:
    files = store.listed("")
    evidence = Evidence(store, there={file.name for file in files})
    with ThreadPoolExecutor(_THREADS) as pool:
        return [*lost(store, files, pool, asking=asking), *check_evidence(store, evidence, pool)]


def _needs_no_computing(file: str) -> bool:
    """Return whether a file can be written again by what the store itself shows."""
    return file == layout.STORE_FILE or file.startswith(f"{layout.SCHEMA_FOLDER}/") or file.endswith(_MARK)


def _remove(store: FeatureStore, why: Mapping[str, str], gone: Iterable[str]) -> dict[str, str]:
    """Remove those of the files that are there; return them with the reasons.

    No row of `sets` tells any more of a set that lacks something then, so that a run looks at what is left of it.
    """
    there = {file.name for file in store.listed("")}
    removed = {file: why[file] for file in sorted(why, key=_order) if file in there}
    rows = [file for file in removed if file.startswith("sets/")]  # a damaged one would be in the way
    store.delete_files(rows)
    store.forget_sets([item for folder in {*map(_folder, (*removed, *gone))} if (item := layout.parse_folder(folder))])
    store.delete_files(file for file in removed if file not in rows)
    for folder in dict.fromkeys(map(_folder, removed)):
        store.storage.remove_empty_folders(folder)
    return removed


def _with_them(store: FeatureStore, wishes: Wishes, files: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Return what goes with files that are damaged or gone, and why, but for what is `known` to go."""
    found = _of_classifiers(store, wishes, files)
    places = map(layout.parse_folder, map(_folder, (*files, *found)))
    sets = {item for item in places if isinstance(item, FeatureSet)}
    found |= dict.fromkeys(_unsigned_results(store, wishes, sets), _UNSIGNED)
    found |= dict.fromkeys(_analyses(store, {item.key for item in sets}), _OF_FEATURES)
    return {file: why for file, why in found.items() if file not in known}


def _folder(file: str) -> str:
    return file.rpartition("/")[0]


def _order(file: str) -> tuple[bool, bool, str]:
    """Records go first, and results before what they say is there; of a set, the manifest goes first."""
    of_a_set = layout.parse_folder(_folder(file)) is not None
    return of_a_set, not file.endswith(f"/{layout.MANIFEST}") if of_a_set else not file.startswith("results/"), file


def _of_classifiers(store: FeatureStore, wishes: Wishes, files: Iterable[str]) -> dict[str, str]:
    """Return the first shard of a set, and its manifest, of every model whose classifier is to be written again.

    A network's classifier is kept when the first shard of a split goes through it. The smallest one is taken.
    """
    models = {file.rpartition("/")[2].removesuffix(".parquet") for file in files if file.startswith("heads/")}
    sizes = {file.name: file.size for file in store.storage.files("features")} if models else {}
    found: dict[str, str] = {}
    for model in models:
        folders = {
            item.folder for row in wishes.rows if row["model_key"] == model for item in SplitSets.of_cell(row).sets()
        }
        firsts = [name for name in sizes if _folder(name) in folders and _is_first(name)]
        for first in sorted(firsts, key=lambda name: (sizes[name], name))[:1]:
            folder = _folder(first)
            others = [name for name in firsts if _folder(name) == folder]  # of another writer, if there are any
            found |= dict.fromkeys((f"{folder}/{layout.MANIFEST}", *others), _OF_CLASSIFIER)
    return found


def _is_first(name: str) -> bool:
    part = layout.parse_part(name.rpartition("/")[2])
    return part is not None and part[0] == 0


def _unsigned_results(store: FeatureStore, wishes: Wishes, sets: Set[FeatureSet]) -> Iterator[str]:
    """Yield the results of earlier versions, without digests, that may have been computed from these sets."""
    if not sets:
        return
    known = {row["cell"]: row for row in [*wishes.former, *wishes.rows]}
    places = {item.place for item in sets}
    for cell in sorted(store.names("results")):
        if cell in known and sets.isdisjoint(SplitSets.of_cell(known[cell]).sets()):
            continue
        try:
            rows = store.read_record("results", cell).to_pylist()
        except StoreError:  # it is damaged, and removed for that; or out of reach
            continue
        first = rows[0] if rows else {"features_digests": []}
        unsigned = first["features_digests"] is None and first["replaced"] is None
        if unsigned and (cell in known or (first["model"], first["tap"], first["dataset"]) in places):
            yield layout.record_path("results", cell)


def _analyses(store: FeatureStore, keys: Set[str]) -> Iterator[str]:
    """Yield the analyses of feature sets with these keys."""
    for table in (name for name in TABLES if keys and TABLES[name].needed_by == "features"):
        columns = [name for name in TABLES[table].schema.names if name.endswith("_key")]
        for name in sorted(store.names(table)):
            try:
                rows = store.read_record(table, name, columns=columns)
            except StoreError:  # as above
                continue
            if not keys.isdisjoint(key for column in rows.columns for key in column.unique().to_pylist()):
                yield layout.record_path(table, name)


def _write_again(store: FeatureStore, files: Collection[str], verified: Verified) -> tuple[str, ...]:
    """Write files again that need no computing; return which. With store.json, all missing files of no rows, too."""
    storage, tables = store.storage, [*schema.SETS, *schema.TABLES]
    there = set(storage.list_files(layout.SCHEMA_FOLDER))
    of_all = layout.STORE_FILE in files
    written = [file for file in sorted(files) if file.endswith(_MARK)]
    for file in written:
        if isinstance(item := layout.parse_folder(_folder(file)), FeatureSet):
            store.mark_overflow(item, "a value is beyond what float16 can hold")
    for table in tables:
        path = layout.empty_path(table)
        if path in files or (of_all and path not in there):
            commit.publish_record(storage, path, _common_columns(storage, table).empty_table())
            written.append(path)
    if of_all:
        unread = any(finding.severity == "unread" for finding in verified.findings)
        packed = any(map(layout.parse_pack, storage.list_files("")))
        version = schema.FORMAT_VERSION if packed else schema.FORMAT_WITHOUT_PACKS
        mark_sealed(storage, tables=tables, sealed=not verified.n_unsigned and not unread, version=version)
        written.append(layout.STORE_FILE)
    return tuple(written)


def _common_columns(storage: Storage, table: str) -> pa.Schema:
    """Return the columns that all files of a table have, by which `FeatureStore.lacks_columns` goes."""
    names = [file.name for file in storage.files(table) if file.name.endswith(".parquet")]
    with ThreadPoolExecutor(_THREADS) as pool:
        columns = list(pool.map(lambda name: storage.read(name, lambda file: pq.read_schema(file).names), names))
    return pa.schema([field for field in schema.table(table).schema if all(field.name in own for own in columns)])
