"""FeatureStore: open, ask, read and write. What is visible was published whole by `commit`."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import commit, layout, schema
from featurestore.errors import MissingFeaturesError, StoreError, StoreVersionError
from featurestore.layout import FeatureSet, SampleSet

_TYPED = {"features": schema.features(pa.float32(), 1), "samples": schema.SAMPLES, **schema.TABLES}


@dataclass(frozen=True)
class Features:
    """Rows of a feature set in the order of `index`.

    Attributes
    ----------
    X : ndarray of shape (n_images, feature_dim)
        In the precision that they are stored in (float16 or float32).
    y : ndarray of int64, shape (n_images,), or of bool, shape (n_images, n_classes), when multi-label
    index : ndarray of int64, shape (n_images,)
        Position in the split.
    sample_id : ndarray of str, shape (n_images,)
    """

    X: npt.NDArray[np.floating[Any]]
    y: npt.NDArray[Any]
    index: npt.NDArray[np.int64]
    sample_id: npt.NDArray[np.object_]


class FeatureStore:
    """A store: a directory or an object-store prefix of Parquet and JSON.

    Get one with :meth:`open` or :meth:`create`.
    """

    def __init__(self, storage: commit.Storage) -> None:
        self._storage = storage

    @property
    def uri(self) -> str:
        """Absolute path or URI of the store."""
        return self._storage.uri

    @classmethod
    def open(cls, uri: str) -> FeatureStore:
        """Open an existing store.

        Raises
        ------
        StoreError
            If there is none at `uri`.
        StoreVersionError
            If it was made by a newer version of probestore.
        """
        storage = commit.Storage(uri)
        if storage.kind("") == "file":
            raise StoreError(f"A store is a folder or an object-store prefix, but {storage.uri} is a file.")
        if storage.kind(layout.STORE_FILE) != "file":
            raise StoreError(
                f"There is no store at {storage.uri}. Give its place with --store or the variable PROBESTORE_STORE, "
                "or make one: probestore run STUDY, or probestore demo."
            )
        _check_version(storage)
        return cls(storage)

    @classmethod
    def create(cls, uri: str) -> FeatureStore:
        """Open the store at `uri`, making an empty one when there is nothing.

        Raises
        ------
        StoreError
            If `uri` is a file, a folder with other things in it, or cannot be written.
        StoreVersionError
            If the store was made by a newer version of probestore.
        """
        storage = commit.Storage(uri)
        if storage.kind(layout.STORE_FILE) == "file":
            return cls.open(uri)
        if storage.kind("") == "file":
            raise StoreError(f"A store is a folder or an object-store prefix, but {storage.uri} is a file.")
        if set(storage.uri) & set("*?[]="):
            raise StoreError(
                f"The path of a store must hold none of * ? [ ] =, which SQL reads as patterns. Got {uri!r}."
            )
        foreign = [name for name in storage.list_files("") if name.split("/")[0] not in _OWN_FOLDERS]
        if foreign:
            raise StoreError(
                f"{storage.uri} is not a store and is not empty (it holds {foreign[0]}). Give an empty or a new folder."
            )
        for table, table_schema in _TYPED.items():
            commit.publish_table(storage, layout.empty_path(table), table_schema.empty_table())
        commit.publish_json(
            storage, layout.STORE_FILE, {"format": "probestore", "schema_version": schema.SCHEMA_VERSION}
        )
        return cls(storage)

    # ---- what exists -------------------------------------------------------------------------------------------

    def has(self, item: FeatureSet | SampleSet) -> bool:
        """Whether every shard of `item` is stored and its manifest says so."""
        return self._storage.kind(f"{item.folder}/{layout.MANIFEST}") == "file"

    def shards(self, item: FeatureSet | SampleSet) -> set[int]:
        """Shards of `item` that are published, complete or not."""
        names = (name.rsplit("/", 1)[1] for name in self._storage.list_files(item.folder))
        return {part[0] for name in names if (part := layout.parse_part(name))}

    def overflowed(self, item: FeatureSet) -> bool:
        """Whether a shard of this float16 set met a value that float16 cannot hold."""
        return self._storage.kind(f"{item.folder}/{layout.OVERFLOW}") == "file"

    def sets(self) -> list[FeatureSet | SampleSet]:
        """All complete feature and sample sets."""
        found = (layout.parse_folder(folder) for folder in self._complete_folders("features", "samples"))
        return sorted((item for item in found if item), key=lambda item: item.folder)

    def manifest(self, item: FeatureSet | SampleSet) -> dict[str, Any]:
        """What is recorded of a complete set: key parts, rows, parts with checksums, versions.

        Raises
        ------
        MissingFeaturesError
            If the set is not complete.
        """
        if not self.has(item):
            raise MissingFeaturesError(
                f"No complete {item.folder} in {self.uri}. Run the study that wants it: probestore run STUDY."
            )
        record: dict[str, Any] = json.loads(self._storage.read_bytes(f"{item.folder}/{layout.MANIFEST}"))
        return record

    def files(self, table: str) -> list[str]:
        """Committed files of a table, as DuckDB opens them. The first has no rows, so the list is never empty."""
        empty = self._storage.external(layout.empty_path(table))
        if table in schema.TABLES:
            names: Iterable[str] = self._storage.list_files(table)
        else:
            names = (name for names in self._complete_folders(table).values() for name in names)
        return [empty, *(self._storage.external(name) for name in names if name.endswith(".parquet"))]

    def names(self, table: str) -> set[str]:
        """Names of the records in one of `schema.TABLES`."""
        return {name.rsplit("/", 1)[1].removesuffix(".parquet") for name in self._storage.list_files(table)}

    def _complete_folders(self, *tables: str) -> dict[str, list[str]]:
        """Folder -> its files, for the folders that have a manifest. One listing per table, no file is opened."""
        folders: dict[str, list[str]] = defaultdict(list)
        for table in tables:
            for name in self._storage.list_files(table):
                folders[name.rsplit("/", 1)[0]].append(name)
        return {folder: names for folder, names in folders.items() if f"{folder}/{layout.MANIFEST}" in names}

    # ---- reading -----------------------------------------------------------------------------------------------

    def read(self, item: FeatureSet, *, n_classes: int | None = None) -> Features:
        """Read a complete feature set.

        Parameters
        ----------
        item : FeatureSet
        n_classes : int, optional
            Width of `y` for a multi-label dataset; labels are otherwise class indices.

        Raises
        ------
        MissingFeaturesError
            If the set is not complete.
        """
        parts = [part["name"] for part in self.manifest(item)["parts"]]
        tables = [pq.read_table(self._storage.open_input(f"{item.folder}/{part}"), partitioning=None) for part in parts]
        table = pa.concat_tables(tables)
        return Features(
            X=_matrix(table.column("feature")),
            y=_targets(table, n_classes),
            index=table.column("index").to_numpy(),
            sample_id=table.column("sample_id").to_numpy(zero_copy_only=False),
        )

    # ---- writing -----------------------------------------------------------------------------------------------

    def write_shard(self, item: FeatureSet | SampleSet, shard: int, n_shards: int, table: pa.Table) -> None:
        """Publish one shard of a set."""
        commit.publish_table(self._storage, f"{item.folder}/{layout.part_name(shard, n_shards)}", table)

    def finish(self, item: FeatureSet | SampleSet, n_shards: int, record: Mapping[str, Any]) -> None:
        """Write the manifest of a set whose shards are all there; from now on the set exists.

        Parameters
        ----------
        record : mapping
            What should be known of the set beside rows and checksums; kept as given.

        Raises
        ------
        StoreError
            If a shard is missing.
        """
        missing = set(range(n_shards)) - self.shards(item)
        if missing:
            raise StoreError(f"{item.folder} cannot be completed: {len(missing)} of {n_shards} shards are missing.")
        parts = [self._describe_part(item, layout.part_name(shard, n_shards)) for shard in range(n_shards)]
        manifest = {
            **record,
            "schema_version": schema.SCHEMA_VERSION,
            "rows": sum(part["rows"] for part in parts),
            "parts": parts,
            "created_at": datetime.now(UTC).isoformat(),
        }
        commit.publish_json(self._storage, f"{item.folder}/{layout.MANIFEST}", manifest)

    def mark_overflow(self, item: FeatureSet, reason: str) -> None:
        """Record that `item` cannot be stored as float16; `overflowed` is true from now on."""
        commit.publish_json(self._storage, f"{item.folder}/{layout.OVERFLOW}", {"reason": reason})

    def publish(self, table: str, name: str, rows: pa.Table) -> None:
        """Publish or replace one record file of the tables in `schema.TABLES`."""
        commit.publish_table(self._storage, layout.record_path(table, name), rows.cast(schema.TABLES[table]))

    def save_study(self, name: str, text: str) -> None:
        """Keep the text of a study file beside what it asked for."""
        self._storage.publish(f"studies/{name}.toml", text.encode())

    def _describe_part(self, item: FeatureSet | SampleSet, part: str) -> dict[str, Any]:
        content = self._storage.read_bytes(f"{item.folder}/{part}")
        return {
            "name": part,
            "rows": pq.read_metadata(pa.BufferReader(content)).num_rows,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


_OWN_FOLDERS = {layout.SCHEMA_FOLDER, layout.STAGING}  # all that a creation cut short can have left behind


def rows_table(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of one of `schema.TABLES` as an Arrow table; absent columns are null."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema.TABLES[table])


def _check_version(storage: commit.Storage) -> None:
    try:
        found = json.loads(storage.read_bytes(layout.STORE_FILE))["schema_version"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, int):
        raise StoreError(
            f"{storage.external(layout.STORE_FILE)} names no schema_version: this is not a store of probestore."
        )
    if found > schema.SCHEMA_VERSION:
        raise StoreVersionError(
            f"The store {storage.uri} has schema version {found}; this probestore reads up to {schema.SCHEMA_VERSION}. "
            "Upgrade probestore (pip install --upgrade probestore) or use another store."
        )


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """(n_images, feature_dim) view of a fixed-size list column; one copy at most, when there are several chunks."""
    dim = column.type.list_size
    blocks: list[npt.NDArray[Any]] = [
        chunk.flatten().to_numpy(zero_copy_only=True).reshape(-1, dim) for chunk in column.chunks
    ]
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks) if blocks else np.empty((0, dim), dtype=column.type.value_type.to_pandas_dtype())


def _targets(table: pa.Table, n_classes: int | None) -> npt.NDArray[Any]:
    """Class indices, or the (n_images, n_classes) indicator matrix of a multi-label table."""
    if table.column("labels").null_count == len(table):
        return np.array(table.column("label"))
    lists = table.column("labels").to_pylist()
    width = n_classes if n_classes is not None else 1 + max((max(row, default=0) for row in lists), default=0)
    y = np.zeros((len(table), width), dtype=bool)
    for image, classes in enumerate(lists):
        y[image, classes] = True
    return y
