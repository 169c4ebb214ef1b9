"""The only code that makes data visible in a store.

A file appears whole or not at all, and whoever is killed in between leaves at most a staged file that no reader looks
at. On a local file system a file is written under ``_staging/``, flushed to the disk and linked or renamed into place.
On S3 one PUT does the same, up to a few megabytes. What is larger goes up in several requests, and pyarrow's output
stream *completes* such an upload with what it has when it is closed after an error. So it goes to ``_staging/`` too,
and the server copies it to its place, in one step, once it has the right size there.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from featurestore.errors import StoreError
from featurestore.store import layout, places
from featurestore.store.retries import advice, persist

T = TypeVar("T")

RECORD_MARK = {b"encoding": b"1"}
"""Metadata of record files; the number is raised whenever `encode_table` makes other bytes of the same rows."""

_ONE_PUT_BYTES = 8 * 1024**2  # below the 10 MiB from which pyarrow uploads in parts

Content: TypeAlias = bytes | pa.Buffer


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing shows it.

    Attributes
    ----------
    name : str
        Relative to the root of the store.
    size : int
        Bytes.
    modified : datetime, optional
        None where the file system does not say.
    """

    name: str
    size: int
    modified: datetime | None


class Storage:
    """The folder of a store on a file system: relative names in, bytes and listings out.

    What may pass (a timeout, a throttled request, a connection cut short) is tried again; what lasts is a StoreError.

    Parameters
    ----------
    uri : str
    options : mapping of str to str, optional
        See `featurestore.store.places.open_place`.
    """

    def __init__(self, uri: str, options: places.Options | None = None) -> None:
        self.place = places.open_place(uri, options)
        self._fs = self.place.filesystem
        self._root = self.place.root
        self.is_local = self.place.kind == "local"

    @property
    def uri(self) -> str:
        """Absolute path or URI of the folder."""
        return self.place.uri

    def path(self, name: str) -> str:
        """Absolute path of `name` as the file system knows it."""
        return f"{self._root}/{name}" if name else self._root

    def external(self, name: str) -> str:
        """Path of `name` as other programs (DuckDB) open it."""
        return self.path(name) if self.is_local else f"{self.uri}/{name}"

    def kind(self, name: str) -> str:
        """Return ``"file"``, ``"folder"`` or ``"absent"``."""
        kind = self._reading(name, lambda: self._fs.get_file_info(self.path(name)).type)
        return {pafs.FileType.File: "file", pafs.FileType.Directory: "folder"}.get(kind, "absent")

    def list_files(self, folder: str) -> list[str]:
        """Every file below `folder`, as sorted names relative to the root; empty when there is no such folder."""
        return [file.name for file in self.files(folder)]

    def files(self, folder: str) -> list[StoredFile]:
        """Every file below `folder`, sorted by name; empty when there is no such folder."""
        selector = pafs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        found = self._reading(folder, lambda: self._fs.get_file_info(selector))
        prefix = len(self._root) + 1
        files = (
            StoredFile(info.path[prefix:], info.size, _in_utc(info.mtime))
            for info in found
            if info.type == pafs.FileType.File
        )
        return sorted(files, key=lambda file: file.name)

    def read_bytes(self, name: str) -> bytes:
        """The whole content of a file."""
        return bytes(self.read_buffer(name))

    def read_buffer(self, name: str) -> pa.Buffer:
        """The whole content of a file, without a copy; of an object store in one request."""
        return self.read(name, lambda file: file.read_buffer())

    def read(self, name: str, reader: Callable[[pa.NativeFile], T]) -> T:
        """What `reader` makes of an open file, which it may read from anywhere; it may be called again.

        Raises
        ------
        StoreError
            If the file is not there or cannot be read.
        """

        def attempt() -> T:
            with self._fs.open_input_file(self.path(name)) as file:
                return reader(file)

        return self._reading(name, attempt)

    def publish(self, name: str, content: Content) -> None:
        """Make `content` visible as `name`, replacing what was there, in one step.

        Raises
        ------
        StoreError
            If the place cannot be written; nothing has changed then.
        """
        self._writing(name, lambda: self._put(name, content))

    def publish_new(self, name: str, content: Content) -> bool:
        """Make `content` visible as `name` unless there is such a file already; say whether it was made.

        On a local file system two writers cannot both succeed, and a file that is there never changes. On an object
        store pyarrow knows no such request: there, of two writers within the time of one upload, the later one replaces
        the earlier one's file, whole by whole.

        Raises
        ------
        StoreError
            If the place cannot be written; nothing has changed then.
        """
        if self.is_local:
            return self._writing(name, lambda: self._put_local(name, content, replace=False))
        if self.kind(name) == "file":
            return False
        self.publish(name, content)
        return True

    def delete(self, name: str) -> None:
        """Remove a file; it is no error if it is gone already.

        Raises
        ------
        StoreError
            If it cannot be removed.
        """

        def attempt() -> None:
            with suppress(FileNotFoundError):
                self._fs.delete_file(self.path(name))

        self._writing(name, attempt)

    def remove_empty_folders(self, folder: str) -> None:
        """Remove a folder, and those above it in the store, as far as nothing is in them; object stores have none."""
        if self.is_local:
            for place in (folder, *(str(parent) for parent in Path(folder).parents if parent.name)):
                try:
                    Path(self.path(place)).rmdir()
                except OSError:  # it is a file's name, gone, or not empty
                    continue

    # ---- one attempt each --------------------------------------------------------------------------------------

    def _put(self, name: str, content: Content) -> None:
        if self.is_local:
            self._put_local(name, content, replace=True)
        elif self.place.kind == "s3" and len(content) <= _ONE_PUT_BYTES:
            # In a thread of its own no Ctrl-C can come between opening and writing, which would publish an empty file.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(self._upload, name, content).result()
        else:
            self._put_by_copy(name, content)

    def _upload(self, name: str, content: Content) -> None:
        """Write a remote file, and trust only what has the right size."""
        with self._fs.open_output_stream(self.path(name)) as stream:
            stream.write(content)
        found = self._fs.get_file_info(self.path(name)).size
        if found != len(content):
            raise OSError(f"{found} bytes of {len(content)} have arrived as {name}")

    def _put_by_copy(self, name: str, content: Content) -> None:
        staged = _staging_name(name)
        if self.place.kind == "fsspec":  # it may be a file system with real folders
            for place in (staged, name):
                self._fs.create_dir(self.path(place).rpartition("/")[0], recursive=True)
        self._upload(staged, content)
        self._fs.move(self.path(staged), self.path(name))

    def _put_local(self, name: str, content: Content, *, replace: bool) -> bool:
        target = Path(self.path(name))
        staged = Path(self.path(_staging_name(name)))
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.parent.mkdir(exist_ok=True)
        try:
            with staged.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            made = _replace(staged, target) if replace else _link(staged, target)
        finally:
            staged.unlink(missing_ok=True)
        _flush_folder(target.parent)
        return made

    # ---- again, or a clear failure -----------------------------------------------------------------------------

    def _persist(self, work: Callable[[], T]) -> T:
        return persist(work, retries=self.place.retries, remote=not self.is_local)

    def _reading(self, name: str, work: Callable[[], T]) -> T:
        try:
            return self._persist(work)
        except FileNotFoundError as error:
            raise StoreError(
                f"{name} is not in the store {self.uri} (any more). See what is wrong with it: probestore verify."
            ) from error
        except pa.ArrowException as error:
            raise StoreError(
                f"Cannot read {name} in the store {self.uri}: {error}. See what to do: probestore verify."
            ) from error
        except OSError as error:
            raise StoreError(
                f"Cannot read {name} in the store {self.uri}: {error}. {advice(error)}, and run the same command again."
            ) from error

    def _writing(self, name: str, work: Callable[[], T]) -> T:
        try:
            return self._persist(work)
        except OSError as error:
            raise StoreError(
                f"Cannot write {name} to the store {self.uri}: {error}. Nothing that was already stored is lost. "
                f"{advice(error)}, and run the same command again: it carries on from what is stored."
            ) from error


def _staging_name(name: str) -> str:
    return f"{layout.STAGING}/{uuid.uuid4().hex}-{name.rsplit('/', 1)[-1]}"


def _replace(staged: Path, target: Path) -> bool:
    staged.replace(target)
    return True


def _link(staged: Path, target: Path) -> bool:
    """Give a staged file its name unless another file has it: the only step that fails for all writers but one."""
    try:
        os.link(staged, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: here two writers within this moment replace each other, whole
        if target.exists():
            return False
        staged.replace(target)
    return True


def _flush_folder(folder: Path) -> None:
    """See to it that a name outlives a power failure, as its content does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _in_utc(time: datetime | None) -> datetime | None:
    return time.astimezone(UTC) if time else None


def encode_table(table: pa.Table) -> pa.Buffer:
    """A table as one Parquet file in memory.

    Without statistics of the features, which nobody filters by, it takes half the time.
    """
    sink = pa.BufferOutputStream()
    codecs = {_leaf(field): _codec(field) for field in table.schema}
    pq.write_table(
        table,
        sink,
        compression=codecs,
        compression_level={leaf: 1 for leaf, codec in codecs.items() if codec == "zstd"},
        use_dictionary=_dictionary_columns(table),
        write_statistics=[_leaf(field) for field in table.schema if not pa.types.is_fixed_size_list(field.type)],
        write_page_checksum=True,
    )
    return sink.getvalue()


def publish_record(storage: Storage, name: str, table: pa.Table) -> None:
    """Publish a table as one Parquet file of which no manifest tells; the mark says that `encode_table` made it."""
    storage.publish(name, encode_table(table.replace_schema_metadata(RECORD_MARK)))


def publish_json(storage: Storage, name: str, record: dict[str, Any]) -> None:
    """Publish a record as readable JSON."""
    storage.publish(name, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def _dictionary_columns(table: pa.Table) -> list[str]:
    """Columns worth a dictionary: text that repeats, never ids or numbers."""
    return [
        field.name
        for field in table.schema
        if pa.types.is_string(field.type) and field.name not in ("sample_id", "source")
    ]


def _codec(field: pa.Field) -> str:
    """Compression of a column.

    Features are noise to a general compressor. LZ4 still takes what there is (zeros after a ReLU), and gives a matrix
    back three to six times as fast as zstd, which would make it a seventh to a quarter smaller.
    """
    return "lz4" if pa.types.is_fixed_size_list(field.type) else "zstd"


def _leaf(field: pa.Field) -> str:
    """Name of the Parquet column that holds the values of a column."""
    nested = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    return f"{field.name}.list.element" if nested else field.name
