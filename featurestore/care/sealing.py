"""Sign what an earlier version stored, so that every later read can tell damage: seals of files, digests of parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.machine import available_cpus
from featurestore.store import commit, kept_texts, layout, schema
from featurestore.store.digests import digest, is_sealed
from featurestore.store.feature_store import FeatureStore, is_part, is_signed, mark_sealed, with_checksum
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import Storage

_MOST_THREADS = 16


def seal(store: FeatureStore) -> int:
    """Sign every file that has no digest yet, as it is now; return how many.

    Do this after `verify` has found no error, while no run goes on. Rows do not change: a record is written again with
    a seal, and the parts of a complete set stay as they are and get digests in its manifest.

    Raises
    ------
    StoreError
        If a part is not the one that its manifest describes, or the store cannot be read or written.
    """
    storage = store.storage
    names = storage.list_files("")
    with ThreadPoolExecutor(min(_MOST_THREADS, 2 * available_cpus())) as pool:
        signed = sum(pool.map(lambda name: _sign(store, name), list(_to_sign(names))))
    signed += sum(_sign_text(storage, name) for name in names if name.startswith(f"{layout.STUDIES}/"))
    tables = [table for table in (*schema.SETS, *schema.TABLES) if layout.empty_path(table) in names]
    packed = any(map(layout.parse_pack, names))
    mark_sealed(storage, tables=tables, version=schema.FORMAT_VERSION if packed else schema.FORMAT_WITHOUT_PACKS)
    return signed


def _to_sign(names: Collection[str]) -> Iterator[str]:
    """Yield the files of a store that hold digests: manifests, and Parquet files that no manifest describes."""
    complete = {name.rpartition("/")[0] for name in names if name.endswith(f"/{layout.MANIFEST}")}
    tables = {layout.SCHEMA_FOLDER, *schema.SETS, *schema.TABLES}
    for name in names:
        folder, _, file = name.rpartition("/")
        if name.split("/")[0] in tables and (
            file == layout.MANIFEST or (file.endswith(".parquet") and folder not in complete)
        ):
            yield name


def _sign(store: FeatureStore, name: str) -> bool:
    item = layout.parse_folder(name.rpartition("/")[0])
    return _sign_manifest(store, item) if item and name.endswith(layout.MANIFEST) else _sign_file(store.storage, name)


def _sign_file(storage: Storage, name: str) -> bool:
    content = storage.read_intact(name)  # a broken seal is not made whole
    if is_sealed(content):
        return False
    with storage.parsing(name):
        rows = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
    storage.publish(name, commit.encode_table(rows, name))
    return True


def _sign_text(storage: Storage, name: str) -> bool:
    study = name.rpartition("/")[2].removesuffix(".toml")
    kept = kept_texts.read(study, storage.read_bytes(name))
    if kept.intact is False:
        raise storage.damaged(name)
    if kept.intact is None:
        storage.publish(name, kept_texts.written(study, kept.text, None))
    return kept.intact is None


def _sign_manifest(store: FeatureStore, item: FeatureSet | SampleSet) -> bool:
    manifest = store.manifest(item)
    if is_signed(manifest):
        return False
    parts = [_signed(store.storage, item, part) for part in manifest["parts"]]
    signed = with_checksum({**manifest, "folder": item.folder, "parts": parts})
    commit.publish_json(store.storage, f"{item.folder}/{layout.MANIFEST}", signed)
    return True


def _signed(storage: Storage, item: FeatureSet | SampleSet, part: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{item.folder}/{part['name']}"
    content = storage.read_sound(name, lambda content: is_part(content, part))
    return {**part, "xxh3": digest(content)}
