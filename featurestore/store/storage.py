"""Storage: the files of a store by name, wherever it lies. A file appears whole or not at all.

Whoever is killed in between leaves at most a staged file that no reader looks at. How each kind of file system does it
is in `featurestore.store.backends`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.plain_text import shell_command
from featurestore.store import layout, places, s3_client
from featurestore.store.backends import Content, backend
from featurestore.store.digests import is_intact
from featurestore.store.retries import (
    advice,
    concerns_upload,
    lasts,
    may_refuse_trailers,
    persist,
    says_why,
)
from featurestore.store.storage_options import CHECKSUMS, Options
from featurestore.store.store_trial import Trial, takes_uploads

T = TypeVar("T")

_OF_MANY_FOLDERS = ("", "features")
_LISTINGS = 16  # at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoredFile(NamedTuple):
    """A file as a listing shows it.

    Attributes
    ----------
    name : str
        Relative to the root of the store.
    size : int
        Bytes.
    modified : datetime, optional
        None where the file system does not say.
    packed : InPack, optional
        Where its rows are, if it is no file any more but a record in a pack (`featurestore.store.packs`). Its name is
        then that of the file that it was, and its size its share of the pack.
    """

    name: str
    size: int
    modified: datetime | None
    packed: InPack | None = None


class InPack(NamedTuple):
    """The place of a record in a pack.

    Attributes
    ----------
    pack : StoredFile
        File of the pack.
    start, n_rows : int
        Its rows in the pack.
    group, offset : int
        Row group that they are in, and its first one there.
    seal : str or None
        Seal of the file that it was.
    read_at : datetime
        When it was read from that file.
    generation : int
        How many packed records of its name it came after.
    """

    pack: StoredFile
    start: int
    n_rows: int
    group: int
    offset: int
    seal: str | None
    read_at: datetime
    generation: int


class Storage:
    """The folder of a store on a file system: relative names in, bytes and listings out.

    An error that may pass (a timeout, a throttled request, a lost connection) is met by another try; one that lasts is
    a StoreError.

    Parameters
    ----------
    uri : str
    options : mapping of str to str, optional
        See `featurestore.store.places.open_place`.

    Attributes
    ----------
    all_sealed : bool
        Whether every Parquet file of the store has a seal (`featurestore.store.digests`). Stores of earlier versions
        may have files without.
    typed : collection of str
        Tables that have a file of no rows, as store.json says; empty in a store of an earlier version.
    remarks : list of str
        What was found out about the server that a person should know.
    """

    def __init__(self, uri: str, options: Options | None = None) -> None:
        self.place = places.open_place(uri, options)
        self.is_local = self.place.kind == "local"
        self.all_sealed = False
        self.typed: Collection[str] = ()
        self.remarks: list[str] = []
        self._is_usable = False
        self._fs = self.place.filesystem
        self._backend = backend(self.place)

    @property
    def uri(self) -> str:
        """Absolute path or URI of the folder."""
        return self.place.uri

    @property
    def puts_new(self) -> bool:
        """Whether exactly one of several writers of a new file succeeds in `publish_new`."""
        return self._backend.puts_new

    def path(self, name: str) -> str:
        """Return the absolute path of `name` as the file system knows it."""
        return self.place.path(name)

    def external(self, name: str) -> str:
        """Return the path of `name` as other programs (DuckDB) open it."""
        return self._backend.external(name)

    def kind(self, name: str) -> str:
        """Return ``"file"``, ``"folder"`` or ``"absent"``."""
        kind = self._reading(name, lambda: self._fs.get_file_info(self.path(name)).type)
        return {pafs.FileType.File: "file", pafs.FileType.Directory: "folder"}.get(kind, "absent")

    def look(self, name: str) -> StoredFile | None:
        """Return a file as a listing shows it now; None if it is not there."""
        info = self._reading(name, lambda: self._fs.get_file_info(self.path(name)))
        return StoredFile(name, info.size, moment(info.mtime_ns)) if info.type == pafs.FileType.File else None

    def modified(self, name: str) -> datetime | None:
        """Return when a file was changed, to the microsecond; None if it is not there or that is not known."""
        if self.is_local:
            return self._reading(name, lambda: _local_moment(self.path(name)))
        found = self.look(name)
        return found.modified if found else None

    def names_in(self, folder: str) -> list[str]:
        """Return the names of what is straight in a folder, in any order; none if there is no such folder."""
        if self.is_local:
            return self._reading(folder, lambda: _local_names(self.path(folder)))
        infos = self._infos(folder, recursive=False)
        return [info.base_name for info in infos]

    def folds_case(self) -> bool:
        """Return whether the file system takes names for one that differ in case only. The store must be there."""
        return self.is_local and self.kind(layout.STORE_FILE.upper()) == "file"

    def list_files(self, folder: str) -> list[str]:
        """List every file below `folder` as sorted names relative to the root; empty if there is no such folder."""
        return [file.name for file in self.files(folder)]

    def files(self, folder: str) -> list[StoredFile]:
        """List every file below `folder`, sorted by name; empty if there is no such folder.

        S3 gives names page after page, so that a folder of many folders is listed folder by folder, several at a time.
        A page that fails is asked for again, not those before it.
        """
        by_folder = self.place.kind == "s3" and folder in _OF_MANY_FOLDERS
        infos = self._infos(folder, recursive=not by_folder)
        files = [file for info in infos if (file := self._file(info))]
        if by_folder:
            below = [self._name(info) for info in infos if info.type == pafs.FileType.Directory]
            with ThreadPoolExecutor(_LISTINGS) as pool:
                for own in pool.map(self.files, below):
                    files.extend(own)
        return sorted(files)

    def _infos(self, folder: str, *, recursive: bool) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.path(folder), recursive=recursive, allow_not_found=True)

        def attempt() -> list[pafs.FileInfo]:
            with self.place.patiently() as filesystem:
                found: list[pafs.FileInfo] = filesystem.get_file_info(selector)
            return found

        return self._reading(folder, attempt)

    def _file(self, info: pafs.FileInfo) -> StoredFile | None:
        if info.type != pafs.FileType.File:
            return None
        return StoredFile(self._name(info), info.size, moment(info.mtime_ns))

    def _name(self, info: pafs.FileInfo) -> str:
        return str(info.path[len(self.place.root) + 1 :])

    def folders(self, folder: str) -> list[str]:
        """List the folders straight in `folder` as sorted names relative to the root, and nothing below them."""
        infos = self._infos(folder, recursive=False)
        return sorted(self._name(info).rstrip("/") for info in infos if info.type == pafs.FileType.Directory)

    def read_bytes(self, name: str) -> bytes:
        """Read the whole content of a file."""
        return bytes(self.read_buffer(name))

    def read_buffer(self, name: str) -> pa.Buffer:
        """Read the whole content of a file without a copy; from an object store in one request."""
        return self.read(name, _whole)

    def read_settled(
        self,
        name: str,
        is_sound: Callable[[pa.Buffer], bool],
        reader: Callable[[pa.NativeFile], pa.Buffer] | None = None,
    ) -> tuple[pa.Buffer, bool]:
        """Read the whole content of a file as it is stored, or what `reader` reads of it; return whether it is sound.

        What a network gave is read again where it is not sound, until it is, or the same comes twice: a body can be
        damaged on its way, and then the file is none the worse for it.
        """

        def read() -> pa.Buffer:
            return self.read(name, reader) if reader else self.read_buffer(name)

        content = read()
        for _ in range(0 if self.is_local else max(1, self.place.retries)):
            if is_sound(content):
                return content, True
            former, content = content, read()
            if content.equals(former):
                return content, False
        return content, is_sound(content)

    def read_sound(
        self,
        name: str,
        is_sound: Callable[[pa.Buffer], bool],
        reader: Callable[[pa.NativeFile], pa.Buffer] | None = None,
    ) -> pa.Buffer:
        """Read the whole content of a file, or what `reader` reads of it, and check it.

        Raises
        ------
        DamagedFileError
            If what is stored is not sound.
        MissingFileError
            If it is not there.
        StoreError
            If it cannot be read now.
        """
        content, sound = self.read_settled(name, is_sound, reader)
        if not sound:
            raise self.damaged(name)
        return content

    def read_intact(self, name: str) -> pa.Buffer:
        """Read a Parquet file of this store, and check that it is as it was written.

        Raises
        ------
        DamagedFileError
            If it is not. A file without a seal is taken as it is where not `all_sealed`: an earlier version wrote it.
        MissingFileError
            If it is not there.
        StoreError
            If it cannot be read now.
        """

        def is_sound(content: pa.Buffer) -> bool:
            intact = is_intact(content, name)
            return not self.all_sealed if intact is None else intact

        return self.read_sound(name, is_sound)

    def damaged(self, name: str) -> DamagedFileError:
        """Return the error about a file that is not as it was written."""
        return DamagedFileError(
            f"{name} in the store {self.uri} is damaged: its content is not what was written. Mend it: {self.mend()}"
        )

    @contextmanager
    def parsing(self, name: str) -> Iterator[None]:
        """Take every error of a Parquet reader in the block as damage of this file, whose bytes have been read.

        Raises
        ------
        DamagedFileError
            If there was one.
        """
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self.damaged(name) from error

    def read(self, name: str, reader: Callable[[pa.NativeFile], T]) -> T:
        """Return what `reader` makes of an open file, which it may read from anywhere; it may be called again.

        Raises
        ------
        MissingFileError
            If the file is not there.
        StoreError
            If it cannot be read now.
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
        self._writing(name, lambda: self._backend.put(name, content))

    def publish_new(self, name: str, content: Content) -> bool:
        """Make `content` visible as `name` unless there is such a file already; return whether it was made.

        On a local file system two writers cannot both succeed, and a file that is there never changes. Elsewhere (see
        `puts_new`), of two writers within the time of one upload, the later one replaces the earlier one's file, whole
        by whole.

        Raises
        ------
        StoreError
            If the place cannot be written; nothing has changed then.
        """
        if self._backend.puts_new:
            return self._writing(name, lambda: self._backend.put(name, content, new=True))
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

    def delete_same(self, name: str, is_same: Callable[[str], bool]) -> bool:
        """Remove a file if it is the one that is meant, and not another one that has come in its place.

        On a local file system it is taken from its place first, so that no other file is removed. Elsewhere one that
        comes between the last look and the removal is.

        Parameters
        ----------
        name : str
        is_same : callable
            Says of a file, by the name that it has then, whether it is the one that is meant. It is asked before the
            file is touched and, on a local file system, again when nobody else can reach it.

        Returns
        -------
        bool
            Whether it was removed: False if it is gone, or another one.

        Raises
        ------
        StoreError
            If it cannot be read or removed.
        """
        try:
            if not is_same(name):
                return False
        except MissingFileError:  # somebody has removed it since it was looked at
            return False
        held = self._writing(name, lambda: self._backend.hold(name))
        if held is None:
            return False
        if held != name and not is_same(held):
            self._writing(name, lambda: self._backend.put_back(held, name))
            return False
        self.delete(held)
        return True

    def remove_empty_folders(self, folder: str) -> None:
        """Remove a folder, and those above it in the store, as far as nothing is in them; object stores have none."""
        self._backend.remove_empty_folders(folder)

    def command(self, *words: str) -> str:
        """Return a command of probestore on this store, as it is typed into a shell."""
        return shell_command("probestore", *words, *self.arguments())

    def arguments(self) -> list[str]:
        """Return the arguments that name this store to a command."""
        return ["--store", self.uri, *self.place.shown_options()]

    def mend(self) -> str:
        """Return the command that mends this store."""
        return self.command("verify", "--mend")

    def check_usable(self) -> None:
        """Try once what a run will need: to write, list, read and remove files, and large ones on S3. Nothing is left.

        Raises
        ------
        StoreError
            If one of them does not work. The message names what is not allowed.
        """
        if self._is_usable:
            return
        trial = Trial(lambda: self.place, lambda: self._backend)
        for doing, step in trial.steps():
            try:
                self._tolerantly(step, suspect=concerns_upload)
            except OSError as error:
                trial.clear()
                why = self._explained(error)
                raise StoreError(
                    f"The command will need to {doing} the store {self.uri}, and cannot: {why}. {advice(why)}, and run "
                    "the same command again. Nothing was computed."
                ) from error
        self._is_usable = True

    # ---- again, or a clear failure -----------------------------------------------------------------------------

    def _persist(self, work: Callable[[], T]) -> T:
        return persist(lambda: _as_os_error(work), retries=self.place.retries, remote=not self.is_local)

    def _reading(self, name: str, work: Callable[[], T]) -> T:
        try:
            return self._persist(work)
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{name} is not in the store {self.uri} (any more). Mend the store: {self.mend()}"
            ) from error
        except pa.ArrowException as error:
            raise StoreError(
                f"Cannot read {name} in the store {self.uri}: {error}. See what is wrong with it: "
                f"{self.command('verify')}"
            ) from error
        except OSError as error:
            why = self._explained(error)
            raise StoreError(
                f"Cannot read {name} in the store {self.uri}: {why}. {advice(why)}, and run the same command again."
            ) from error

    def _writing(self, name: str, work: Callable[[], T]) -> T:
        try:
            return self._tolerantly(work)
        except OSError as error:
            why = self._explained(error)
            raise StoreError(
                f"Cannot write {name} to the store {self.uri}: {why}. Nothing that was already stored is lost. "
                f"{advice(why)}, and run the same command again: it carries on from what is stored."
            ) from error

    def _explained(self, error: OSError) -> OSError:
        """Return the error of a listing if it says more than that of a request for one file."""
        if says_why(error):
            return error
        try:
            self._fs.get_file_info(pafs.FileSelector(self.path(layout.STAGING), allow_not_found=True))
        except OSError as reason:
            return reason if says_why(reason) and lasts(reason) else error
        return error

    def _tolerantly(self, work: Callable[[], T], *, suspect: Callable[[OSError], bool] = may_refuse_trailers) -> T:
        """Do what writes, and do it without trailing checksums if the server proves not to know them."""

        def attempt() -> T:
            try:
                return work()
            except OSError as error:
                if not (suspect(error) and self._goes_plain()):
                    raise
                return work()

        return self._persist(attempt)

    def _goes_plain(self) -> bool:
        """Return whether only uploads without a trailing checksum arrive. From now on there is none."""
        options = self.place.options
        if self.place.kind != "s3" or s3_client.checksums(options) == s3_client.PLAIN or takes_uploads(self.place):
            return False
        plain = places.open_place(self.uri, {**options, CHECKSUMS: s3_client.PLAIN})
        if not takes_uploads(plain):
            return False
        self.place, self._fs, self._backend = plain, plain.filesystem, backend(plain)
        self.remarks.append(
            f"The server of {self.uri} does not know checksums at the end of an upload, so that files are uploaded "
            f"without. To say so beforehand: --storage-option {CHECKSUMS}={s3_client.PLAIN}"
        )
        return True


def _as_os_error(work: Callable[[], T]) -> T:
    """Do `work`, and raise what Google's client reports as the OSError that other clients raise."""
    try:
        return work()
    except pa.ArrowException as error:
        if "google::cloud::Status" in str(error):
            raise OSError(str(error)) from error
        raise


def _whole(file: pa.NativeFile) -> pa.Buffer:
    """Read an open file. Half of a body, which a broken connection can end in, is an error that may pass."""
    content = file.read_buffer()
    if content.size != file.size():
        raise OSError(f"{content.size} of {file.size()} bytes have arrived")
    return content


def _local_moment(path: str) -> datetime | None:
    try:
        return moment(os.stat(path).st_mtime_ns)  # noqa: PTH116 - a path is text here
    except FileNotFoundError:
        return None


def _local_names(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - of tens of thousands of folders, so that it must be quick
    except (FileNotFoundError, NotADirectoryError):
        return []


def moment(nanoseconds: int | None) -> datetime | None:
    """Return a time in UTC by its nanoseconds since 1970, to the microsecond, as the tables of a store hold it."""
    return None if nanoseconds is None else _EPOCH + timedelta(microseconds=nanoseconds // 1000)
