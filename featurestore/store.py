"""FeatureStore: open, ask, read and write. What is visible was published whole by `commit`."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore import commit, layout, matrices, schema
from featurestore.errors import MissingFeaturesError, StoreError, StoreVersionError
from featurestore.layout import FeatureSet, SampleSet
from featurestore.matrices import Arrays, MatrixCache

_TYPED = {"features": schema.features(pa.float32(), 1), "samples": schema.SAMPLES, **schema.TABLES}


@dataclass(frozen=True)
class Features:
    """Rows of a feature set in the order of `index`, or of several sets one after the other.

    Out of a cache, the arrays are read-only and mapped into memory.

    Attributes
    ----------
    X : ndarray of shape (n_images, feature_dim)
        In the precision that they are stored in (float16 or float32).
    y : ndarray of int64, shape (n_images,), or of bool, shape (n_images, n_classes), when multi-label
    index : ndarray of int64, shape (n_images,)
        Position in the split.
    sample_id : ndarray of str, shape (n_images,)
        Of a fixed width.
    """

    X: npt.NDArray[np.floating[Any]]
    y: npt.NDArray[Any]
    index: npt.NDArray[np.int64]
    sample_id: npt.NDArray[np.str_]


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

    def read(
        self, item: FeatureSet, *more: FeatureSet, n_classes: int | None = None, cache: MatrixCache | None = None
    ) -> Features:
        """Read complete feature sets, one after the other, into one matrix.

        Parameters
        ----------
        item, *more : FeatureSet
            Of equal dimensions. Where one is stored as float16 and another as float32, `X` is float32.
        n_classes : int, optional
            Width of `y` for a multi-label dataset; labels are otherwise class indices.
        cache : MatrixCache, optional
            Where the matrix is kept on this node, decoded, for the next who reads the same sets.

        Raises
        ------
        MissingFeaturesError
            If a set is not complete.
        StoreError
            If the sets differ in their dimensions, or a file is not the one that the manifest describes.
        """
        items = (item, *more)
        manifests = [self.manifest(one) for one in items]
        key = layout.content_key({"manifests": manifests, "arrays": _ARRAYS})
        arrays = cache.load(key) if cache is not None else None
        if arrays is None:
            arrays = self._decode(items, manifests)
            if cache is not None:
                arrays = cache.save(key, arrays)
        return _features(arrays, n_classes)

    def _decode(self, items: Sequence[FeatureSet], manifests: Sequence[Mapping[str, Any]]) -> Arrays:
        """Read every part straight into its rows of one matrix, as many parts at once as there are CPUs."""
        parts = [
            (f"{item.folder}/{part['name']}", part)
            for item, manifest in zip(items, manifests, strict=True)
            for part in manifest["parts"]
        ]
        ends = np.cumsum([part["rows"] for _, part in parts], dtype=np.int64).tolist()
        dim, dtype = self._shared_type(items, manifests)
        X = np.empty((ends[-1] if ends else 0, dim), dtype)
        with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
            tables = list(pool.map(self._read_part, *zip(*parts, strict=True), np.split(X, ends[:-1]))) if parts else []
        return {"X": X, **_columns(pa.concat_tables(tables or [_NO_ROWS]))}

    def _shared_type(
        self, items: Sequence[FeatureSet], manifests: Sequence[Mapping[str, Any]]
    ) -> tuple[int, np.dtype[Any]]:
        """Dimension of all the sets and the narrowest type that holds their values, by the first part of each."""
        found: dict[FeatureSet, pa.DataType] = {}
        for item, manifest in zip(items, manifests, strict=True):
            for part in manifest["parts"][:1]:
                with self._storage.open_input(f"{item.folder}/{part['name']}") as file:
                    found[item] = pq.read_schema(file).field("feature").type
        dims = {vector.list_size: item for item, vector in found.items()}
        if len(dims) > 1:
            (dim, one), (other_dim, other), *_ = dims.items()
            raise StoreError(
                "Feature sets that are read into one matrix must have the same number of features per image, but "
                f"{one.folder} has {dim} and {other.folder} has {other_dim}."
            )
        dtypes = (vector.value_type.to_pandas_dtype() for vector in found.values())
        return next(iter(dims), 0), np.result_type(np.float16, *dtypes)

    def _read_part(self, name: str, part: Mapping[str, Any], out: npt.NDArray[Any]) -> pa.Table:
        """Fill `out`, the part's rows of the matrix, and return its other columns."""
        with self._storage.open_input(name) as stream:
            content = stream.read_buffer()  # one request to an object store, of little more than is needed
        if content.size != part["bytes"]:
            raise StoreError(
                f"{name} has {content.size} bytes, but its manifest says {part['bytes']}. Somebody has changed it: "
                f"delete its folder in {self.uri} and run the study again."
            )
        file = pq.ParquetFile(pa.BufferReader(content))
        matrices.read_vectors(file, content, "feature", out)
        return file.read(columns=_NO_ROWS.column_names, use_threads=False)

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


_NO_ROWS = schema.features(pa.float32(), 1).empty_table().select(["sample_id", "index", "label", "labels"])
_ARRAYS = 1  # raised whenever _decode gives other arrays, so that none of another version comes out of a cache
_MOST_THREADS = 16  # more would only wait for the memory

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


def _columns(table: pa.Table) -> Arrays:
    """What `read` needs beside X, as arrays that a file can hold.

    Labels are `label`, or, when they are many per image, pairs of `row` and `label`; what follows from n_classes is not
    among them.
    """
    columns = {"index": table.column("index").to_numpy(), "sample_id": _fixed_width(table.column("sample_id"))}
    labels = table.column("labels")
    if labels.null_count == len(table):
        return {**columns, "label": table.column("label").to_numpy()}
    row = np.repeat(np.arange(len(table)), pc.list_value_length(labels).fill_null(0).to_numpy())
    return {**columns, "row": row, "label": pc.list_flatten(labels).to_numpy()}


def _fixed_width(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    """(n,) strings, padded with zeros as NumPy does it; without a Python object per row when they are ASCII."""
    if not pc.all(pc.string_is_ascii(column)).as_py():
        return np.array(column.to_pylist(), dtype=np.str_)
    width = max(1, pc.max(pc.binary_length(column)).as_py())
    padded = pc.utf8_rpad(column, width, padding="\0").combine_chunks()
    letters = np.frombuffer(padded.buffers()[2], np.uint8, count=len(column) * width)
    return letters.astype(np.uint32).view(f"U{width}")


def _features(arrays: Arrays, n_classes: int | None) -> Features:
    y = _indicator(arrays, n_classes) if "row" in arrays else arrays["label"]
    return Features(X=arrays["X"], y=y, index=arrays["index"], sample_id=arrays["sample_id"])


def _indicator(arrays: Arrays, n_classes: int | None) -> npt.NDArray[np.bool_]:
    """(n_images, n_classes) matrix of the labels of a multi-label dataset."""
    width = n_classes if n_classes is not None else 1 + int(arrays["label"].max(initial=0))
    y = np.zeros((len(arrays["X"]), width), dtype=bool)
    y[arrays["row"], arrays["label"]] = True
    return y
