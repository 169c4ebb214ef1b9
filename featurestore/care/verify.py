"""Is everything in a store what was written, and does it fit together? Reads every file once; changes nothing."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

import pyarrow as pa

from featurestore.care.evidence_checks import check_evidence
from featurestore.care.findings import (
    MAKE_SET_ANEW,
    MEND,
    NOT_WRITTEN_SO,
    RUN_AGAIN,
    Finding,
    error,
    gone,
    unread,
    unsigned,
    warning,
)
from featurestore.care.looks import Looks
from featurestore.care.lost import lost
from featurestore.care.pack_checks import check_pack
from featurestore.care.part_checks import Checked
from featurestore.care.record_checks import check_empty, check_record
from featurestore.care.shard_checks import SetChecks
from featurestore.errors import MissingFileError, StoreError
from featurestore.machine import available_cpus
from featurestore.plain_text import counted
from featurestore.store import kept_texts, layout, schema
from featurestore.store.evidence import Evidence
from featurestore.store.feature_store import FeatureStore, is_mark_of, store_record
from featurestore.store.storage import Storage, StoredFile

_MOST_THREADS = 16
_STAGED_FOR_LONG = timedelta(hours=1)  # a file is staged for seconds


@dataclass(frozen=True)
class Verified:
    """The number of sets, records and bytes that were checked, and what is wrong with them.

    Attributes
    ----------
    n_sets, n_records, n_bytes : int
        Complete feature and sample sets; record files; size of all files.
    n_unsigned : int
        Number of files of an earlier version that no digest covers; they are no findings.
    findings : list of Finding
        By severity and place.
    """

    n_sets: int
    n_records: int
    n_bytes: int
    n_unsigned: int
    findings: list[Finding]

    @property
    def sound(self) -> bool:
        """True if nothing is wrong, and everything could be read; warnings do not count."""
        return not any(finding.severity in ("error", "unread") for finding in self.findings)

    @property
    def mendable(self) -> bool:
        """True if `featurestore.care.mend` knows what to do about some of it."""
        return any(finding.mendable for finding in self.findings)

    def with_findings(self, more: Iterable[Finding]) -> Verified:
        """Return the same with more findings."""
        return replace(self, findings=sorted([*self.findings, *more]))


def verify(
    store: FeatureStore, *, threads: int | None = None, asking: Collection[str] = (), looks: Looks | None = None
) -> Verified:
    """Check every manifest, size, checksum, row count, schema and value, and features against their images.

    Files that the rows of the store say were made must be there, and results must rest on what is there.

    Parameters
    ----------
    threads : int, optional
        Files that are read, and in memory, at once.
    asking : collection of str
        Probes that need the network's own classifier: their results say that it was kept.
    looks : Looks, optional
        Decides which parts, records and packs are read, and which results are compared with what they rest on; all by
        default. All manifests are read, and all names are looked at, in any case.

    Raises
    ------
    StoreError
        If the store cannot be listed.
    """
    storage, looks = store.storage, looks or Looks()
    physical, listed = store.with_damaged("")
    files = {file.name: file for file in physical}
    folders: dict[str, list[str]] = defaultdict(list)
    for name in files:
        folders[name.rpartition("/")[0]].append(name)
    sets = [item for folder in folders if (item := layout.parse_folder(folder))]
    records = [name for name in files if _is_record(name)]
    n_threads = threads or (min(_MOST_THREADS, 2 * available_cpus()) if storage.is_local else _MOST_THREADS)
    looks.begin(sum(file.size for name, file in files.items() if name.endswith(".parquet")))
    with _threads(n_threads) as pool:
        found = lost(store, listed, pool, asking=asking)
        evidence = Evidence(store, there={file.name for file in listed})
        gone_files = {finding.place for finding in found if finding.gone}
        checks = SetChecks(storage, files, folders, looks, pool, threads=n_threads, lost=gone_files)
        found.extend(checks.run(sets, evidence))
        found.extend(check_evidence(store, evidence, pool, takes=looks.takes))
        packs = filter(layout.parse_pack, files)
        for findings in chain(
            pool.map(lambda name: _checked_record(store, files[name], looks), records),
            pool.map(lambda name: _checked_pack(storage, files[name], looks), packs),
            pool.map(lambda table: list(_types(storage, files, table)), [*schema.SETS, *schema.TABLES]),
            pool.map(lambda folder: list(_strays(store, files, folder, folders[folder])), folders),
        ):
            found.extend(findings)
    found.extend(_store_file(storage))
    n_bytes = sum(file.size for file in files.values())
    n_unsigned = sum(finding.severity == "unsigned" for finding in found)
    n_complete = sum(f"{item.folder}/{layout.MANIFEST}" in files for item in sets)
    return Verified(n_complete, len(records), n_bytes, n_unsigned, _judged(found))


@contextmanager
def _threads(count: int) -> Iterator[Executor]:
    """Give a pool of threads to the block. Whoever interrupts it does not wait for what has not begun."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _checked_record(store: FeatureStore, file: StoredFile, looks: Looks) -> list[Finding]:
    found = looks.at(file, lambda: Checked(check_record(store.storage, file.name))).findings
    return [finding for finding in found if not finding.gone or not store.has_file(finding.place)]  # it may be packed


def _checked_pack(storage: Storage, file: StoredFile, looks: Looks) -> Sequence[Finding]:
    return looks.at(file, lambda: Checked(check_pack(storage, file.name))).findings


def _judged(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are to be shown: a file that is missing is said to be so once."""
    missing = {finding.place: finding for finding in found if finding.gone and "/" in finding.place}
    others = (finding for finding in found if finding.severity != "unsigned" and finding.place not in missing)
    return sorted([*missing.values(), *others])


def _types(storage: Storage, files: Mapping[str, StoredFile], table: str) -> Iterator[Finding]:
    """Check the file of no rows of a table. A store that is older than a table has none of it."""
    path = layout.empty_path(table)
    if path in files:
        yield from check_empty(storage, table)
    elif table in schema.SETS or table in storage.typed:
        yield gone(path, "the file is missing", "verify --mend writes it again", remove=[path])


def _store_file(storage: Storage) -> Iterator[Finding]:
    advice = "verify --mend writes it again"
    try:
        if store_record(storage) is None:
            what = "it does not name probestore and a format that this version knows"
            yield error(layout.STORE_FILE, what, advice, remove=[layout.STORE_FILE])
    except MissingFileError:
        yield gone(layout.STORE_FILE, "the file is missing", advice, remove=[layout.STORE_FILE])
    except StoreError as problem:
        yield unread(layout.STORE_FILE, problem)


def _strays(store: FeatureStore, files: Mapping[str, StoredFile], folder: str, names: list[str]) -> Iterator[Finding]:
    """Find files of a folder that are left over, unfinished, or no part of a store."""
    table = folder.split("/")[0]
    if table == layout.STAGING:
        yield from _staged(files, names)
    elif table in schema.SETS:
        yield from _set_strays(store, folder, names)
        yield from _marks(store.storage, folder, names)
    elif table == layout.STUDIES:
        yield from _kept_texts(store.storage, names)
    elif table != layout.SCHEMA_FOLDER:
        yield from (_unknown(name) for name in names if not _is_known(name))


def _staged(files: Mapping[str, StoredFile], names: list[str]) -> Iterator[Finding]:
    now = datetime.now(UTC)
    for name in names:
        modified = files[name].modified
        if name.rpartition("/")[2].startswith(layout.TOKEN_PREFIX):
            continue  # of a run that may still go on
        if modified and now - modified > _STAGED_FOR_LONG:
            yield warning(name, "a writer was killed before it was published", "remove it: probestore gc --delete")


def _set_strays(store: FeatureStore, folder: str, names: list[str]) -> Iterator[Finding]:
    item = layout.parse_folder(folder)
    if item is None:
        yield from (_unknown(name) for name in names)
        return
    own = {name: name.rpartition("/")[2] for name in names}
    parts = {name: part for name, short in own.items() if (part := layout.parse_part(short))}
    complete, overflowed = (f"{folder}/{file}" in own for file in (layout.MANIFEST, layout.OVERFLOW))
    if not complete and not overflowed:
        n_shards = len(set(parts.values()))
        yield warning(folder, f"it is not complete: {counted(n_shards, 'shard')} and no manifest", RUN_AGAIN)
    for short in sorted(store.unnamed(item, own.values())) if complete else ():
        what = "two writers made this shard, and the manifest names the file of the other one"
        yield warning(f"{folder}/{short}", what, "remove it: probestore gc --delete")
    if len({n_shards for _, n_shards in parts.values()}) > 1:
        yield error(folder, "its parts are of different numbers of shards", MAKE_SET_ANEW)
    for name, short in own.items():
        if name not in parts and short not in (layout.MANIFEST, layout.OVERFLOW):
            yield _unknown(name)


def _marks(storage: Storage, folder: str, names: list[str]) -> Iterator[Finding]:
    """Check the mark that a float16 set has overflowed. That it is there says all; its content says why."""
    item, name = layout.parse_folder(folder), f"{folder}/{layout.OVERFLOW}"
    if item is None or name not in names:
        return
    try:
        if not storage.read_settled(name, lambda content: is_mark_of(item, bytes(content)))[1]:
            yield error(name, NOT_WRITTEN_SO, "verify --mend writes it again", remove=[name])
    except StoreError as problem:
        yield unread(name, problem)


def _kept_texts(storage: Storage, names: list[str]) -> Iterator[Finding]:
    for name in names:
        study = name.rpartition("/")[2].removesuffix(".toml")

        def is_sound(content: pa.Buffer, study: str = study) -> bool:
            return bool(kept_texts.read(study, bytes(content)).intact)

        try:
            content = bytes(storage.read_settled(name, is_sound)[0])
        except StoreError as problem:
            yield unread(name, problem)
            continue
        kept = kept_texts.read(study, content)
        if kept.intact is False or (kept.intact is None and (storage.typed or not _is_toml(content))):
            yield error(name, NOT_WRITTEN_SO, f"{MEND}; then the study writes it again", remove=[name])
        elif kept.intact is None:
            yield unsigned(name)


def _is_toml(content: bytes) -> bool:
    try:
        tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _is_known(name: str) -> bool:
    return name == layout.STORE_FILE or _is_record(name) or layout.parse_pack(name) is not None


def _is_record(name: str) -> bool:
    if layout.parse_import(name):
        return True
    table, _, file = name.partition("/")
    return table in schema.TABLES and file.endswith(".parquet") and "/" not in file


def _unknown(name: str) -> Finding:
    return warning(name, "no part of a store has this name", "move it elsewhere")
