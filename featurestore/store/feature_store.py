"""FeatureStore: open, ask, read and write. Everything visible was published whole by `commit`."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import (
    DamagedFileError,
    MissingFeaturesError,
    MissingFileError,
    StoreError,
    StoreVersionError,
)
from featurestore.store import commit, kept_texts, known_sets, layout, schema, set_arrays
from featurestore.store.digests import digest, digest_of_parts
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.matrices import Arrays, MatrixCache
from featurestore.store.records import Records
from featurestore.store.set_arrays import Slot
from featurestore.store.storage import Storage, StoredFile
from featurestore.store.storage_options import Options


class Making(NamedTuple):
    """What images' features were made with.

    Attributes
    ----------
    versions : str or None
        JSON: library -> version; None if the features do not say.
    device : str or None
    fingerprint : str or None
        Digest of what the network gives for the trial images; None if an earlier version made the features.
    n_images : int
    """

    versions: str | None
    device: str | None
    fingerprint: str | None
    n_images: int


@dataclass(frozen=True)
class Features:
    """Rows of a feature set in the order of `index`, or of several sets one after the other.

    Out of a cache, the arrays are read-only and mapped into memory.

    Attributes
    ----------
    X : ndarray of shape (n_images, feature_dim)
        Features, in the type that they are stored as (float16 or float32).
    y : ndarray of int64, shape (n_images,), or of bool, shape (n_images, n_classes), when multi-label
    index : ndarray of int64, shape (n_images,)
        Position in the split.
    sample_id : ndarray of str, shape (n_images,)
        Ids of the images, of a fixed width.
    n_rows : tuple of int
        Number of rows of each set, in their order.
    digests : tuple of str
        Digest of each set, as `FeatureStore.features_digest` returns it, of the very files that were read.
    made_with : tuple of Making
        What they were made with, set by set.
    """

    X: npt.NDArray[np.floating[Any]]
    y: npt.NDArray[Any]
    index: npt.NDArray[np.int64]
    sample_id: npt.NDArray[np.str_]
    n_rows: tuple[int, ...] = ()
    digests: tuple[str, ...] = ()
    made_with: tuple[Making, ...] = ()


@dataclass(frozen=True)
class Part:
    """The stored file of one shard of a set; a row of its manifest.

    Attributes
    ----------
    name : str
        Name of the file, in the folder of the set.
    bytes : int
    sha256, xxh3 : str
        Checksums of the file, in hexadecimal digits: one that nobody can forge, and one that every read checks.
    made : str, optional
        Digest of what its features were made with; parts that were made with the same have the same.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    xxh3: str
    made: str | None = None

    @classmethod
    def of(cls, name: str, content: pa.Buffer) -> Part:
        """Describe a Parquet file by its bytes.

        Raises
        ------
        pyarrow.ArrowInvalid, OSError
            If it is no Parquet file, or half of one.
        """
        metadata = pq.read_metadata(pa.BufferReader(content))
        made = made_with(said_of_making(metadata.metadata))
        checksums = hashlib.sha256(content).hexdigest(), digest(content)
        return cls(name, metadata.num_rows, content.size, *checksums, made["made"] if made else None)


class Stock:
    """The sets that a store had when it was listed: one listing of each table answers for any number of sets.

    Parameters
    ----------
    folders : mapping of str to mapping of str to datetime or None
        Folder of a set -> names of its files, with the times at which they were written, where these are known.
    """

    def __init__(self, folders: Mapping[str, Mapping[str, datetime | None]]) -> None:
        self._folders = folders

    def has(self, item: FeatureSet | SampleSet) -> bool:
        """Return whether every shard of `item` was stored and its manifest said so."""
        return layout.MANIFEST in self._names(item)

    def is_whole(self, item: FeatureSet | SampleSet) -> bool:
        """Return the same, if no shard has gone since. A part says of how many it is."""
        parts = {part for name in self._names(item) if (part := layout.parse_part(name))}
        return self.has(item) and bool(parts) and len(parts) >= min(n_shards for _, n_shards in parts)

    def completed_at(self, item: FeatureSet | SampleSet) -> datetime | None:
        """Return when the manifest of `item` was written; None if there is none, or the file system does not say."""
        return self._names(item).get(layout.MANIFEST)

    def shards(self, item: FeatureSet | SampleSet) -> set[int]:
        """Return the shards of `item` that were published, complete or not."""
        return set(layout.files_of_shards(self._names(item)))

    def models(self) -> set[str]:
        """Return the names of the models that features were published of, complete or not."""
        return {item.model for folder in self._folders if isinstance(item := layout.parse_folder(folder), FeatureSet)}

    def overflowed(self, item: FeatureSet) -> bool:
        """Return whether a shard of this float16 set had met a value that float16 cannot hold."""
        return layout.OVERFLOW in self._names(item)

    def _names(self, item: FeatureSet | SampleSet) -> Mapping[str, datetime | None]:
        return self._folders.get(item.folder, {})


class FeatureStore(Records):
    """A store: a directory or an object-store prefix of Parquet and JSON.

    Get one with :meth:`open` or :meth:`create`.
    """

    @property
    def storage_options(self) -> tuple[tuple[str, str], ...]:
        """Options that another process needs, beside `uri`, to open this store. They may hold credentials."""
        return tuple(sorted(self._storage.place.options.items()))

    @classmethod
    def open(cls, uri: str, *, storage_options: Options | None = None, to_mend: bool = False) -> FeatureStore:
        """Open an existing store.

        Parameters
        ----------
        uri : str
            A path, ``s3://bucket/prefix``, ``gs://bucket/prefix``, or a URL that fsspec knows.
        storage_options : mapping of str to str, optional
            Options of `featurestore.store.places.open_place`. They are kept nowhere.
        to_mend : bool
            Open it also if its store.json is damaged or gone. It is then read as a store of an earlier version, whose
            files need not have seals.

        Raises
        ------
        ConfigurationError
            If the URI or an option cannot be used.
        DamagedFileError
            If its store.json is damaged or gone.
        StoreError
            If there is none at `uri`.
        StoreVersionError
            If it was made by a newer version of probestore.
        """
        storage = Storage(uri, storage_options)
        if storage.kind(layout.STORE_FILE) != "file":
            _check_folder(storage)
            if not storage.list_files(layout.SCHEMA_FOLDER):
                raise StoreError(
                    f"There is no store at {storage.uri}. Give its place with --store or the variable "
                    "PROBESTORE_STORE, or make one: probestore run STUDY, or probestore demo."
                )
            if not to_mend:
                raise _no_store_file(storage)
        else:
            _check_version(storage, to_mend=to_mend)
        return cls(storage)

    @classmethod
    def create(cls, uri: str, *, storage_options: Options | None = None) -> FeatureStore:
        """Open the store at `uri`, making an empty one when there is nothing.

        Parameters
        ----------
        uri, storage_options
            As for :meth:`open`.

        Raises
        ------
        ConfigurationError
            If the URI or an option cannot be used.
        StoreError
            If `uri` is a file, a folder with other things in it, or cannot be written.
        StoreVersionError
            If the store was made by a newer version of probestore.
        """
        storage = Storage(uri, storage_options)
        if storage.kind(layout.STORE_FILE) == "file":
            _check_version(storage)
            return cls(storage)
        _check_folder(storage)
        if not storage.is_local and (patterns := [c for c in storage.uri if c in "*?[]="]):
            raise StoreError(
                f"The URL of a store must hold none of * ? [ ] =, which SQL reads as patterns. Got {storage.uri!r}, "
                f"which holds {patterns[0]!r}."
            )
        names = storage.list_files("")
        if layout.STORE_FILE in names:  # somebody else has just made it
            _check_version(storage)
            return cls(storage)
        if lost_its_store_file(names):
            raise _no_store_file(storage)
        if foreign := foreign_files(names):
            raise StoreError(
                f"{storage.uri} is not a store and is not empty (it holds {foreign[0]}). Give an empty or a new folder."
            )
        storage.check_usable()
        for table in (*schema.SETS, *schema.TABLES):
            commit.publish_record(storage, layout.empty_path(table), schema.table(table).schema.empty_table())
        mark_sealed(storage, tables=[*schema.SETS, *schema.TABLES], version=schema.FORMAT_WITHOUT_PACKS)
        return cls(storage)

    # ---- what exists -------------------------------------------------------------------------------------------

    def has(self, item: FeatureSet | SampleSet) -> bool:
        """Return whether every shard of `item` is stored and its manifest says so."""
        return self._storage.kind(f"{item.folder}/{layout.MANIFEST}") == "file"

    def shards(self, item: FeatureSet | SampleSet) -> set[int]:
        """Return the shards of `item` that are published, complete or not."""
        return set(layout.files_of_shards(self._file_names(item)))

    def has_part(self, item: FeatureSet | SampleSet, shard: int) -> bool:
        """Return whether `item` is complete, and the file of this shard that its manifest names is there."""
        names = layout.files_of_shards(self._described(item)).get(shard, [])
        return bool(names) and self._storage.kind(f"{item.folder}/{names[0]}") == "file"

    def unnamed(self, item: FeatureSet | SampleSet, names: Collection[str]) -> set[str]:
        """Return the files of a set that its manifest does not name, because it names another one of the same shard.

        Two writers of a shard may leave such on an object store. The manifest is read only where there are any.

        Parameters
        ----------
        names : collection of str
            Names of the files in the folder of the set, which is complete.
        """
        several = [own for own in layout.files_of_shards(names).values() if len(own) > 1]
        named = self._described(item).keys() if several else set()
        return {name for own in several if not named.isdisjoint(own) for name in own if name not in named}

    def overflowed(self, item: FeatureSet) -> bool:
        """Return whether a shard of this float16 set met a value that float16 cannot hold."""
        return self._storage.kind(f"{item.folder}/{layout.OVERFLOW}") == "file"

    def stock(self) -> Stock:
        """List the sets that there are now, complete or not: two listings, however many sets are asked for."""
        folders: dict[str, dict[str, datetime | None]] = defaultdict(dict)
        for table in ("features", "samples"):
            for file in self._storage.files(table):
                folder, _, name = file.name.rpartition("/")
                folders[folder][name] = file.modified
        return Stock(dict(folders))

    def sets(self) -> list[FeatureSet | SampleSet]:
        """Return all complete feature and sample sets."""
        files = (file for table in schema.SETS for file in self._storage.files(table))
        found = (layout.parse_folder(folder) for folder in _complete(files))
        return sorted((item for item in found if item), key=lambda item: item.folder)

    def manifest(self, item: FeatureSet | SampleSet) -> dict[str, Any]:
        """Return the manifest of a complete set: key parts, rows, parts with checksums, versions.

        Raises
        ------
        MissingFeaturesError
            If the set is not complete.
        """
        path = f"{item.folder}/{layout.MANIFEST}"
        try:
            content = self._storage.read_sound(path, lambda content: parsed_manifest(item, content) is not None)
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise MissingFeaturesError(
                f"No complete {item.folder} in {self.uri}: there is no {path}. Run the study that wants it: "
                f"probestore run STUDY. If it was complete, see which study that is: {self._storage.mend()}"
            ) from error
        record: dict[str, Any] = json.loads(bytes(content))
        return record

    def features_digest(self, item: FeatureSet) -> str:
        """Return a digest of the files of a complete set: of its features, whoever made them and whenever.

        Raises
        ------
        MissingFeaturesError
            If the set is not complete.
        """
        return digest_of_parts(self.manifest(item))

    def read_checked(self, name: str, manifests: dict[str, Mapping[str, Any]]) -> pa.Buffer:
        """Read a Parquet file of this store by its name, and check that it is as it was written.

        That of a complete set must be the one that the manifest describes; any other must have its own seal.

        Parameters
        ----------
        name : str
            Relative to the root of the store.
        manifests : dict of str to manifest
            Those that were read before, by the folders of their sets. One that is read now is added.

        Raises
        ------
        DamagedFileError
            If it is not.
        StoreError
            If the file is not there or cannot be read.
        """
        folder, _, file = name.rpartition("/")
        item = layout.parse_folder(folder)
        if item is None:
            return self._storage.read_intact(name)
        if folder not in manifests:
            manifests[folder] = self.manifest(item)
        for part in manifests[folder]["parts"]:
            if part["name"] == file:
                return self._part(name, part)
        raise self._storage.damaged(f"{folder}/{layout.MANIFEST}")

    def files(self, table: str) -> list[str]:
        """List the committed files of a table, as DuckDB opens them; the first has no rows, so there is always one."""
        names = [layout.empty_path(table), *self.file_sizes(table)]
        return [self._storage.external(name) for name in names]

    def file_sizes(self, table: str, *, listed: Iterable[StoredFile] | None = None) -> dict[str, int]:
        """Return the names of the committed files of a table, with their sizes in bytes.

        Of several files of a shard only the one that the manifest names is committed.

        Parameters
        ----------
        table : str
        listed : iterable of StoredFile, optional
            The files of the table, where :meth:`listed` has just listed them; by default that is done here.
        """
        files = list(self.listed(table) if listed is None else listed)
        if table in schema.SETS:
            files = [file for folder, own in _complete(files).items() for file in self._named(folder, own)]
        physical = dict.fromkeys(file.packed.pack if file.packed else file for file in files)
        return {file.name: file.size for file in physical if file.name.endswith(".parquet")}

    def lacks_columns(self, table: str) -> bool:
        """Return whether files of a table may lack columns that it has now, because the store was made before them."""
        path = layout.empty_path(table)
        try:
            content = self._storage.read_intact(path)
            with self._storage.parsing(path):
                known = pq.read_schema(pa.BufferReader(content)).names
        except StoreError:  # older than the table; or out of reach, which whoever reads on will be told
            return True
        return not set(schema.table(table).schema.names).issubset(known)

    # ---- reading -----------------------------------------------------------------------------------------------

    def read(
        self, item: FeatureSet, *more: FeatureSet, n_classes: int | None = None, cache: MatrixCache | None = None
    ) -> Features:
        """Read complete feature sets, one after the other, into one matrix.

        Parameters
        ----------
        item, *more : FeatureSet
            Sets of equal dimensions. If one is stored as float16 and another as float32, `X` is float32.
        n_classes : int, optional
            Width of `y` for a multi-label dataset; labels are otherwise class indices.
        cache : MatrixCache, optional
            Cache that keeps the decoded matrix on this node, for the next who reads the same sets.

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
        return replace(
            _features(arrays, n_classes),
            n_rows=tuple(manifest["rows"] for manifest in manifests),
            digests=tuple(map(digest_of_parts, manifests)),
            made_with=tuple(making for manifest in manifests for making in makings(manifest)),
        )

    def _decode(self, items: Sequence[FeatureSet], manifests: Sequence[Mapping[str, Any]]) -> Arrays:
        """Read every part straight into its rows of one matrix, several parts at once."""
        parts = set_arrays.slots(
            [
                (f"{item.folder}/{part['name']}", part)
                for item, manifest in zip(items, manifests, strict=True)
                for part in manifest["parts"]
            ]
        )
        first = {item: self._first_part(item, manifest) for item, manifest in zip(items, manifests, strict=True)}
        dim, dtype = _shared_type(first)
        at_hand = dict(found for found in first.values() if found)

        def read(slot: Slot) -> pa.Buffer:
            return at_hand.pop(slot.name, None) or self._part(slot.name, slot.described)

        threads = set_arrays.n_threads(parts, local=self._storage.is_local)
        return set_arrays.read_arrays(parts, read, dim, dtype, threads=threads)

    def _first_part(self, item: FeatureSet, manifest: Mapping[str, Any]) -> tuple[str, pa.Buffer] | None:
        """Return the path and the content of the first part of a set, which says what all of them are like."""
        for part in manifest["parts"][:1]:
            name = f"{item.folder}/{part['name']}"
            return name, self._part(name, part)
        return None

    def _part(self, name: str, part: Mapping[str, Any]) -> pa.Buffer:
        """Read a part, and check that it is the one that its manifest describes."""
        return self._storage.read_sound(name, lambda content: is_part(content, part))  # little more than is needed

    # ---- writing -----------------------------------------------------------------------------------------------

    def write_shard(self, item: FeatureSet | SampleSet, shard: int, n_shards: int, table: pa.Table) -> Part:
        """Publish one shard of a set, unless it is there: the first of several writers wins.

        Where a new file may replace another of the same name, parts are named by their content. Two writers of one
        shard within the time of one upload then leave a file each, and the manifest will name one of them.

        Returns
        -------
        Part
            The part that is stored now, ours or another writer's. A file that is damaged does not count, and is
            replaced if it has the same name: no writer of a store can have left it.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        if not self._storage.puts_new:
            return self._write_by_content(item, shard, n_shards, table)
        name = layout.part_name(shard, n_shards)
        path = f"{item.folder}/{name}"
        content = commit.encode_table(table, path)
        if not self._storage.publish_new(path, content):
            try:
                return self._describe_part(item, name)
            except (DamagedFileError, MissingFileError):
                self._storage.publish(path, content)
        return Part.of(name, content)

    def _write_by_content(self, item: FeatureSet | SampleSet, shard: int, n_shards: int, table: pa.Table) -> Part:
        there = layout.files_of_shards(self._file_names(item), n_shards=n_shards)
        for name in there.get(shard, ()):
            with suppress(DamagedFileError, MissingFileError):
                return self._describe_part(item, name)
        path, content = commit.encode_by_content(
            table, lambda own: f"{item.folder}/{layout.part_name(shard, n_shards, own)}"
        )
        self._storage.publish(path, content)
        return Part.of(path.rpartition("/")[2], content)

    def finish(
        self, item: FeatureSet | SampleSet, n_shards: int, record: Mapping[str, Any], *, parts: Iterable[Part] = ()
    ) -> None:
        """Write the manifest of a set whose shards are all there; from now on the set exists.

        Several drivers may do so at once, and what each of them writes is true: a part never changes once it is there.
        Where a shard has several files, the first one by name that is whole is taken, so that all drivers who see the
        same files take the same one.

        A manifest that is there stays if the files that it names are all there, unless one of `parts` is another file
        of the same name: that was lost, and made again. Otherwise those of its files that are there stay.

        Parameters
        ----------
        record : mapping
            Facts about the set beside rows, checksums, and what its parts say of their making; kept as they are given.
        parts : iterable of Part
            Parts that are known from `write_shard`; only the others are read back.

        Raises
        ------
        StoreError
            If a shard is missing or cannot be read.
        """
        known = {part.name: part for part in parts}
        former = self._described(item)
        there = layout.files_of_shards(self._file_names(item), n_shards=n_shards)
        files = {name for names in there.values() for name in names}
        made_again = any(not is_same_part(part, former[name]) for name, part in known.items() if name in former)
        if former and len(former) == n_shards and files.issuperset(former) and not made_again:
            self._note_complete(item, self.manifest(item))  # its writer may have been killed before that
            return
        missing = n_shards - len(there)
        if missing:
            raise StoreError(f"{item.folder} cannot be completed: {missing} of {n_shards} shards are missing.")
        rows = former | {name: asdict(part) for name, part in known.items()}
        choices = ([name for name in there[shard] if name in former] or there[shard] for shard in range(n_shards))
        described = [self._first_whole(item, names, rows) for names in choices]
        manifest = {
            **record,
            **self._making(item, described),
            "folder": item.folder,
            "schema_version": schema.FORMAT_WITHOUT_PACKS,
            "rows": sum(part["rows"] for part in described),
            "parts": described,
            "created_at": datetime.now(UTC).isoformat(),
        }
        self._publish_row(known_sets.unfinished(item))  # what the table says of a former manifest is over now
        commit.publish_json(self._storage, f"{item.folder}/{layout.MANIFEST}", with_checksum(manifest))
        self._note_complete(item, manifest)

    def mark_overflow(self, item: FeatureSet, reason: str) -> None:
        """Record that `item` cannot be stored as float16; `overflowed` is true from now on."""
        record = with_checksum({"folder": item.folder, "reason": reason})
        commit.publish_json(self._storage, f"{item.folder}/{layout.OVERFLOW}", record)
        self._publish_row(known_sets.overflowed(item))

    def forget_sets(self, items: Collection[FeatureSet | SampleSet]) -> None:
        """Remove the rows of `sets` that tell of these sets. Do this before their manifests are removed.

        What the table lacks is no error: whoever wants to know of such a set looks for its files.

        Raises
        ------
        StoreError
            If a row cannot be removed.
        """
        names = [layout.set_id(item, state) for item in items for state in (layout.COMPLETE, layout.OVERFLOWED)]
        if len(names) <= _FEW:
            there = [name for name in names if self.has_record("sets", name)]
        else:
            there = sorted(self.names("sets").intersection(names))
        if there:
            self.delete_records("sets", there)

    def note_sets(
        self, complete: Mapping[FeatureSet | SampleSet, datetime | None], overflowed: Iterable[FeatureSet]
    ) -> int:
        """Write rows of `sets` for sets that were found to be there, which an earlier version made; return how many.

        Their manifests are read. One that is damaged gets no row: `probestore verify` finds it.

        Parameters
        ----------
        complete : mapping of FeatureSet or SampleSet to datetime or None
            Sets with a manifest, and its time of change.
        overflowed : iterable of FeatureSet
            Sets with the mark of an overflow.

        Raises
        ------
        StoreError
            If a manifest cannot be read now, or the store cannot be written.
        """

        def row(item: FeatureSet | SampleSet) -> dict[str, Any] | None:
            try:
                return known_sets.complete(item, self.manifest(item), complete[item])
            except (MissingFeaturesError, DamagedFileError):
                return None

        items, n_rows = list(complete), 0
        for start in range(0, max(1, len(items)), _SETS_AT_ONCE):
            with ThreadPoolExecutor(_THREADS) as pool:
                rows = [found for found in pool.map(row, items[start : start + _SETS_AT_ONCE]) if found]
            if start == 0:
                rows += map(known_sets.overflowed, overflowed)
            self.publish_records("sets", {row["set_id"]: rows_table("sets", [row]) for row in rows})
            n_rows += len(rows)
        return n_rows

    def _publish_row(self, row: Mapping[str, Any]) -> None:
        """Publish a row of the table `sets`, which counts more than one that lies in a pack."""
        self.publish("sets", row["set_id"], rows_table("sets", [row]))

    def _note_complete(self, item: FeatureSet | SampleSet, manifest: Mapping[str, Any]) -> None:
        """Note in the table `sets` that a set has this manifest, or that which another writer puts in its place now."""
        while True:
            row = known_sets.complete(item, manifest, self._storage.modified(f"{item.folder}/{layout.MANIFEST}"))
            self._publish_row(row)
            manifest = self.manifest(item)
            if digest_of_parts(manifest) == row["parts_digest"]:
                return

    def save_study(self, name: str, text: str, file: str | None = None) -> None:
        """Keep the text of a study file, and its path or the command that has no file, beside what it asked for."""
        self._storage.publish(layout.study_path(name), kept_texts.written(name, text, file))

    def _described(self, item: FeatureSet | SampleSet) -> dict[str, dict[str, Any]]:
        """Return the parts of a set by their names, as its manifest describes them; none if there is no sound one."""
        try:
            return {part["name"]: part for part in self.manifest(item)["parts"]}
        except (MissingFeaturesError, DamagedFileError):
            return {}

    def _making(self, item: FeatureSet | SampleSet, described: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return what a manifest says of the making of a set: the words of its first part, and who made how much.

        A part is read for each thing that parts were made with: seldom more than the first.
        """
        if isinstance(item, SampleSet) or not described:
            return {}
        first: dict[str | None, Mapping[str, Any]] = {}
        for part in described:
            if "made" not in part:  # an earlier version described it
                part["made"] = (made_with(self._words(item, part)) or {}).get("made")
            first.setdefault(part["made"], part)
        words = {made: self._words(item, part) if made else {} for made, part in first.items()}
        makings = []
        for made, said in words.items():
            own = [part for part in described if part["made"] == made]
            counts = {"parts": len(own), "images": sum(part["rows"] for part in own)}
            makings.append((made_with(said) or {"made": None}) | counts)
        of_the_first = words[described[0]["made"]]
        return {name: said for name, said in of_the_first.items() if name != "fingerprint"} | {"made_with": makings}

    def _words(self, item: FeatureSet, part: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a published part says of its making; nothing if it says nothing."""
        path = f"{item.folder}/{part['name']}"
        content = self._storage.read_intact(path)
        with self._storage.parsing(path):
            return said_of_making(pq.read_schema(pa.BufferReader(content)).metadata)

    def _file_names(self, item: FeatureSet | SampleSet) -> list[str]:
        """Return the names of the files in the folder of a set."""
        return [name.rpartition("/")[2] for name in self._storage.list_files(item.folder)]

    def _named(self, folder: str, files: list[StoredFile]) -> list[StoredFile]:
        """Return the files of a complete set, without those in whose place its manifest names others."""
        item, names = layout.parse_folder(folder), {file.name.rpartition("/")[2]: file for file in files}
        unnamed = self.unnamed(item, names) if item else ()
        return [file for name, file in names.items() if name not in unnamed]

    def _first_whole(
        self, item: FeatureSet | SampleSet, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return the first of a shard's files that is whole, as a row of the manifest; those of `rows` are known."""
        *others, last = names
        for name in others:
            with suppress(DamagedFileError, MissingFileError):
                return dict(rows.get(name) or asdict(self._describe_part(item, name)))
        return dict(rows.get(last) or asdict(self._describe_part(item, last)))

    def _describe_part(self, item: FeatureSet | SampleSet, name: str) -> Part:
        path = f"{item.folder}/{name}"
        content = self._storage.read_intact(path)
        with self._storage.parsing(path):
            return Part.of(name, content)


FORMAT = "probestore"
_SEALED = "sealed"
"""Key in store.json of whether every Parquet file of the store has a seal."""
TYPED = "tables"
"""Key in store.json of the tables that have a file of no rows; it is not there in stores of earlier versions."""
MADE_WITH = b"probestore"
"""Key of the Parquet metadata in which a part says how it was made, as JSON."""
CHECKSUM = "checksum"
"""Key in a manifest, and in store.json, of the checksum of all else in it."""

_ARRAYS = 1  # raised whenever _decode gives other arrays, so that none of another version comes out of a cache
_THREADS = 16  # an object store takes its time for each manifest
_SETS_AT_ONCE = 4096  # whose rows are written at once; whoever is killed has those of the sets before
_FEW = 4  # so many records are looked for one by one; of more, the table is listed


def _complete(files: Iterable[StoredFile]) -> dict[str, list[StoredFile]]:
    """Return folder -> files of every folder that has a manifest."""
    folders: dict[str, list[StoredFile]] = defaultdict(list)
    for file in files:
        folders[file.name.rsplit("/", 1)[0]].append(file)
    return {
        folder: own
        for folder, own in folders.items()
        if any(file.name == f"{folder}/{layout.MANIFEST}" for file in own)
    }


def foreign_files(names: Iterable[str]) -> list[str]:
    """Return the files of a folder that cannot be left from a making of a store that was cut short."""
    return [name for name in names if name.split("/")[0] not in (layout.SCHEMA_FOLDER, layout.STAGING)]


def lost_its_store_file(names: Collection[str]) -> bool:
    """Return whether a folder without a store.json was a store, by the names of its files."""
    return any(name.startswith(f"{layout.SCHEMA_FOLDER}/") for name in names) and bool(foreign_files(names))


def _shared_type(first: Mapping[FeatureSet, tuple[str, pa.Buffer] | None]) -> tuple[int, np.dtype[Any]]:
    """Return the dimension of all the sets and the narrowest type that holds their values, by their first parts."""
    found = {
        item: pq.read_schema(pa.BufferReader(part[1])).field("feature").type for item, part in first.items() if part
    }
    dims = {vector.list_size: item for item, vector in found.items()}
    if len(dims) > 1:
        (dim, one), (other_dim, other), *_ = dims.items()
        raise StoreError(
            "Feature sets that are read into one matrix must have the same number of features per image, but "
            f"{one.folder} has {dim} and {other.folder} has {other_dim}."
        )
    dtypes = (vector.value_type.to_pandas_dtype() for vector in found.values())
    return next(iter(dims), 0), np.result_type(np.float16, *dtypes)


def rows_table(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows of one of `schema.TABLES` as an Arrow table; absent columns are null."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema.TABLES[table].schema)


def checksum(manifest: Mapping[str, Any]) -> str:
    """Return SHA-256 over everything in a manifest but its own checksum."""
    content = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_checksum(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the checksum of what is in it now."""
    return {**manifest, CHECKSUM: checksum(manifest)}


def mark_sealed(
    storage: Storage, *, tables: Iterable[str], sealed: bool = True, version: int = schema.FORMAT_VERSION
) -> None:
    """Write store.json.

    Parameters
    ----------
    storage : Storage
    tables : iterable of str
        Tables that have a file of no rows. The store is older than the others.
    sealed : bool
        Whether every Parquet file of the store has a seal, or a manifest that describes it: from now on, one that has
        none is damaged. Stores of earlier versions have files without.
    version : int
        Version of the format; by default the one that every store can have.
    """
    record: dict[str, Any] = {"format": FORMAT, "schema_version": version, TYPED: sorted(tables)}
    if sealed:
        record[_SEALED] = True
    commit.publish_json(storage, layout.STORE_FILE, with_checksum(record))
    storage.all_sealed, storage.typed = sealed, record[TYPED]


def mark_packed(storage: Storage) -> None:
    """Note in store.json, before there is a pack, that the store has packs: versions that do not know them refuse it.

    Raises
    ------
    DamagedFileError
        If store.json is damaged.
    StoreError
        If it cannot be read or written.
    """
    record = store_record(storage)
    if record is None:
        raise storage.damaged(layout.STORE_FILE)
    if record["schema_version"] < schema.FORMAT_VERSION:
        commit.publish_json(
            storage, layout.STORE_FILE, with_checksum({**record, "schema_version": schema.FORMAT_VERSION})
        )


def store_record(storage: Storage) -> dict[str, Any] | None:
    """Read store.json; None if it is not as it was written.

    Raises
    ------
    StoreError
        If it is not there or cannot be read now.
    """
    content, _ = storage.read_settled(layout.STORE_FILE, lambda content: _parsed_store_file(content) is not None)
    return _parsed_store_file(content)


def _parsed_store_file(content: pa.Buffer) -> dict[str, Any] | None:
    """Return what a store.json says; None if it is not as it was written."""
    try:
        record: dict[str, Any] = json.loads(bytes(content))
        version, known = record["schema_version"], record.keys() <= {"format", "schema_version", _SEALED}
        intact = record[CHECKSUM] == checksum(record) if CHECKSUM in record else known
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if intact and record.get("format") == FORMAT and type(version) is int and version > 0 else None


def parsed_manifest(item: FeatureSet | SampleSet, content: pa.Buffer) -> dict[str, Any] | None:
    """Return what the manifest of a set says; None if it is not as it was written, or that of another set."""
    try:
        record: dict[str, Any] = json.loads(bytes(content))
        return record if is_manifest_of(item, record) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def is_manifest_of(item: FeatureSet | SampleSet, manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest is as it was written, for this set. Earlier versions wrote no checksum or no folder."""
    intact = CHECKSUM not in manifest or manifest[CHECKSUM] == checksum(manifest)
    names = (name for name in ("folder", "model", "tap", "dataset", "split") if name in manifest)
    return intact and all(manifest[name] == getattr(item, name, manifest[name]) for name in names) and _fits(manifest)


def _fits(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest says what readers ask it; KeyError, TypeError or ValueError if it is another thing."""
    parts = manifest["parts"]
    whole = all(isinstance(part["name"], str) and isinstance(part["sha256"], str) for part in parts)
    datetime.fromisoformat(manifest.get("created_at", "2000-01-01"))
    return (
        whole and sum(int(part["rows"]) for part in parts) == manifest["rows"] and all(part["bytes"] for part in parts)
    )


def said_of_making(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return what a part says of its making, by the metadata of its file; nothing if it says nothing."""
    try:
        said = json.loads((metadata or {}).get(MADE_WITH, b"{}"))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def made_with(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a part's features were made with, as a manifest lists it, by what the part says of its making.

    Returns
    -------
    dict or None
        ``versions`` and ``device``; ``fingerprint``, which is None in parts of earlier versions; ``made``, a digest of
        all of them. None if it says nothing.
    """
    if "extraction" not in said:
        return None
    used = {name: said["extraction"].get(name) for name in ("versions", "device")}
    own = used | {"fingerprint": said.get("fingerprint")}
    return own | {"made": digest(json.dumps(own, sort_keys=True).encode())}


def makings(manifest: Mapping[str, Any]) -> list[Making]:
    """Return what the features of a set were made with. Manifests of earlier versions do not say."""
    return [
        Making(
            json.dumps(made["versions"], sort_keys=True) if made.get("versions") else None,
            made.get("device"),
            digest(json.dumps(made["fingerprint"]).encode()) if made.get("fingerprint") else None,
            made["images"],
        )
        for made in manifest.get("made_with", [{"images": manifest["rows"]}])
    ]


def made_known(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return those things that the features of a set were made with which say all: libraries, device, fingerprint."""
    return [
        made
        for made in manifest.get("made_with", ())
        if made.get("fingerprint") and made.get("versions") and made.get("device")
    ]


def is_mark_of(item: FeatureSet | SampleSet, content: bytes) -> bool:
    """Return whether the mark of an overflow is as it was written for this set. Earlier versions signed nothing."""
    try:
        record = json.loads(content)
        signed = {"folder": item.folder, "reason": record["reason"]}
        return bool(record == with_checksum(signed) or record == {"reason": str(record["reason"])})
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def is_signed(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest names its own place and the digests of its parts, as those of today do."""
    return "folder" in manifest and all("xxh3" in part for part in manifest["parts"])


def is_same_part(part: Part, row: Mapping[str, Any]) -> bool:
    """Return whether a row of a manifest describes a part. Earlier versions did not write all that is known of one."""
    return all(row.get(name) == getattr(part, name) for name in ("rows", "bytes", "sha256"))


def is_part(content: pa.Buffer, part: Mapping[str, Any]) -> bool:
    """Return whether these are the bytes of a part as its manifest describes it."""
    if content.size != part["bytes"]:
        return False
    if "xxh3" in part:
        return digest(content) == str(part["xxh3"])
    return hashlib.sha256(content).hexdigest() == str(part["sha256"])  # of an earlier version


def _check_folder(storage: Storage) -> None:
    if storage.kind("") == "file":
        raise StoreError(f"A store is a folder or an object-store prefix, but {storage.uri} is a file.")


def _no_store_file(storage: Storage) -> DamagedFileError:
    return DamagedFileError(
        f"{layout.STORE_FILE} is gone from the store {storage.uri}, which has other files. Mend it: {storage.mend()}"
    )


def _check_version(storage: Storage, *, to_mend: bool = False) -> None:
    record = store_record(storage)
    if record is None and storage.list_files(layout.SCHEMA_FOLDER):
        if not to_mend:
            raise DamagedFileError(
                f"{storage.external(layout.STORE_FILE)} is damaged: it names no schema_version of probestore. Mend it: "
                f"{storage.mend()}"
            )
        return
    if record is None:
        raise StoreError(
            f"{storage.external(layout.STORE_FILE)} names no schema_version: this is not a store of probestore."
        )
    storage.all_sealed, storage.typed = record.get(_SEALED) is True, record.get(TYPED, ())
    found = record["schema_version"]
    if found > schema.FORMAT_VERSION:
        raise StoreVersionError(
            f"The store {storage.uri} has format {found}; this probestore reads formats up to {schema.FORMAT_VERSION}. "
            "Upgrade probestore (pip install --upgrade probestore) or use another store."
        )


def _features(arrays: Arrays, n_classes: int | None) -> Features:
    y = _indicator(arrays, n_classes) if "row" in arrays else arrays["label"]
    return Features(X=arrays["X"], y=y, index=arrays["index"], sample_id=arrays["sample_id"])


def _indicator(arrays: Arrays, n_classes: int | None) -> npt.NDArray[np.bool_]:
    """Return the (n_images, n_classes) matrix of the labels of a multi-label dataset."""
    width = n_classes if n_classes is not None else 1 + int(arrays["label"].max(initial=0))
    y = np.zeros((len(arrays["X"]), width), dtype=bool)
    y[arrays["row"], arrays["label"]] = True
    return y
