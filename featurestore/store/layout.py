"""The place of everything in a store: names to paths and back. No file is touched here.

store.json                                                              format and schema version
_schema/...                                                             one file of no rows per table, for its type
features/model=M/tap=T/dataset=D/split=S/key=K/part-00000-of-00012.parquet      on a local file system; elsewhere
features/model=M/tap=T/dataset=D/split=S/key=K/part-00000-of-00012.<digest>.parquet
features/model=M/tap=T/dataset=D/split=S/key=K/manifest.json            written last: this is what "exists" means
samples/dataset=D/split=S/key=K/...                                     the same
results/<cell>.parquet, models/<model>.parquet, ...                     one file per record, published whole
results/packed/<time>-<digest>.parquet, ...                             a pack: rows of many records of finished work
results/imported/<origin>.parquet, models/imported/<origin>.parquet     rows of an import, whose names may be no paths
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from featurestore.errors import ConfigurationError
from featurestore.store import schema

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KEY_VERSION = 1
"""Part of every key, and no version of anything else. Another number would give everything that is stored a new key, so
that all of it would be computed again; what changes some numbers only is a part of the keys of those."""

STORE_FILE = "store.json"
MANIFEST = "manifest.json"
OVERFLOW = "overflow.json"
COMPLETE, OVERFLOWED, UNFINISHED = "complete", "overflowed", "unfinished"
"""What a row of `sets` can say of a set: it has its manifest; or its mark that float16 was too small; or its manifest
was about to be written when its writer was killed."""
STAGING = "_staging"
TOKEN_PREFIX = "token-"
"""Start of the names of staged files that a run keeps as long as it goes on, so that its nodes can read them."""
SCHEMA_FOLDER = "_schema"
STUDIES = "studies"
"""Folder of the texts of the study files that were run."""
IMPORTS = "imported"
"""Folder, inside that of a table, of rows that were made elsewhere."""
PACKS = "packed"
"""Folder, inside that of a table, of files with the rows of many records."""
PENULTIMATE = "penultimate"
"""The tap that every model has: the input of its classifier."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SAFE_IN_TAP = "._+-"  # all else is percent-encoded: block:layers.3 has a colon
_IMPORT = re.compile(rf"(\w+)/{IMPORTS}/({_SAFE_NAME.pattern})\.parquet")
_PACK = re.compile(rf"(\w+)/{PACKS}/\d{{8}}T\d{{12}}Z-[0-9a-f]{{16}}\.parquet")
_PART = re.compile(r"part-(\d{5,})-of-(\d{5,})(?:\.[0-9a-f]{16})?\.parquet")


@dataclass(frozen=True, order=True)
class FeatureSet:
    """The features of one dataset split seen by one model at one tap, under one key."""

    model: str
    dataset: str
    split: str
    key: str
    tap: str = PENULTIMATE

    @property
    def place(self) -> tuple[str, str, str]:
        """Model, tap and dataset by name."""
        return (self.model, self.tap, self.dataset)

    @property
    def folder(self) -> str:
        """Path inside the store."""
        tap = _quoted(self.tap)
        return f"features/model={self.model}/tap={tap}/dataset={self.dataset}/split={self.split}/key={self.key}"


@dataclass(frozen=True, order=True, kw_only=True)
class SplitSets:
    """Features that belong together: those of a dataset's three splits, as one model sees them at one tap.

    Attributes
    ----------
    train_key, val_key, test_key : str
        Keys of the three feature sets.
    """

    model: str
    dataset: str
    tap: str = PENULTIMATE
    train_key: str
    val_key: str
    test_key: str

    @classmethod
    def of(cls, sets: Mapping[str, FeatureSet]) -> SplitSets:
        """Bind the feature sets of ``train``, ``val`` and ``test`` together."""
        first = sets["train"]
        keys = {f"{split}_key": found.key for split, found in sets.items()}
        return cls(model=first.model, dataset=first.dataset, tap=first.tap, **keys)

    @classmethod
    def of_cell(cls, row: Mapping[str, Any]) -> SplitSets:
        """Return the features that a cell reads, by its row of `cells`."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    @property
    def place(self) -> tuple[str, str, str]:
        """Model, tap and dataset by name."""
        return (self.model, self.tap, self.dataset)

    def set(self, split: str) -> FeatureSet:
        """Return the feature set of a split."""
        return FeatureSet(self.model, self.dataset, split, getattr(self, f"{split}_key"), self.tap)

    def sets(self, *splits: str) -> list[FeatureSet]:
        """Return the feature sets of these splits; of all three by default."""
        return [self.set(split) for split in splits or schema.SPLITS]


@dataclass(frozen=True, order=True)
class SampleSet:
    """The image table of one dataset split, under one key."""

    dataset: str
    split: str
    key: str

    @property
    def folder(self) -> str:
        """Path inside the store."""
        return f"samples/dataset={self.dataset}/split={self.split}/key={self.key}"


@cache
def _quoted(tap: str) -> str:
    return quote(tap, safe=_SAFE_IN_TAP)


def part_name(shard: int, n_shards: int, digest: str = "") -> str:
    """Return the file name of one shard; it says how many there are, so a folder tells what it still misses.

    Parameters
    ----------
    digest : str
        Digest of the content, of 32 hexadecimal digits, where a new file may replace another of the same name: then
        other bytes have another name. Half of it enters the name. Empty where the first of several writers wins.
    """
    own = f".{digest[:16]}" if digest else ""
    return f"part-{shard:05d}-of-{n_shards:05d}{own}.parquet"


def parse_part(name: str) -> tuple[int, int] | None:
    """Return (shard, n_shards) of the file name of a part, with or without a digest; None for any other file."""
    match = _PART.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def files_of_shards(names: Iterable[str], *, n_shards: int | None = None) -> dict[int, list[str]]:
    """Return shard -> names of its files, in order; there are several where several writers made it by content.

    Parameters
    ----------
    names : iterable of str
        Names of files in the folder of a set. Those that are no parts are left out.
    n_shards : int, optional
        Leave out parts of another number of shards, too.
    """
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        part = parse_part(name)
        if part and n_shards in (None, part[1]):
            found.setdefault(part[0], []).append(name)
    return found


def parse_folder(folder: str) -> FeatureSet | SampleSet | None:
    """Return the set whose `folder` this is, or None."""
    table, *rest = folder.split("/")
    values = dict(part.split("=", 1) for part in rest if "=" in part)
    if table == "features" and tuple(values) == schema.SETS["features"].partitions:
        return FeatureSet(**{**values, "tap": unquote(values["tap"])})
    if table == "samples" and tuple(values) == schema.SETS["samples"].partitions:
        return SampleSet(**values)
    return None


def set_id(item: FeatureSet | SampleSet, state: str) -> str:
    """Return the name of the record that says that a set is in a state: `COMPLETE` or `OVERFLOWED`."""
    return content_key({"set": item.folder, "state": state})


def staging_name(name: str) -> str:
    """Return the path at which a file is written before it gets its name; another one at every call.

    It begins with the name that `stage_as` gave to this process.
    """
    return f"{STAGING}/{_stage.prefix}{uuid.uuid4().hex}-{name.rsplit('/', 1)[-1]}"


def stage_as(writer: str) -> None:
    """Let all files that this process stages begin with the name of a run, which removes what its workers leave."""
    _stage.prefix = f"{writer}-"


@dataclass
class _Stage:
    prefix: str = ""


_stage = _Stage()


def record_path(table: str, name: str) -> str:
    """Return the path of one record file of the tables in `schema.TABLES`."""
    return f"{table}/{check_name('record', name)}.parquet"


def record_name(path: str) -> str:
    """Return the name of the record that lies at a path."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def study_path(name: str) -> str:
    """Return the path of the text of a study file."""
    return f"{STUDIES}/{name}.toml"


def import_path(table: str, origin: str) -> str:
    """Return the path of the rows that an import added to a table; a later import of that name replaces them."""
    return f"{table}/{IMPORTS}/{check_name('import', origin)}.parquet"


def parse_import(path: str) -> tuple[str, str] | None:
    """Return (table, origin) of the rows of an import, or None for any other path."""
    match = _IMPORT.fullmatch(path)
    return (match[1], match[2]) if match and _takes_imports(match[1]) else None


def pack_path(table: str, made_at: datetime, digest: str) -> str:
    """Return the path of a pack of records.

    Parameters
    ----------
    made_at : datetime
        Time in its name, with a time zone: later packs come after earlier ones.
    digest : str
        Digest of its content, of 32 hexadecimal digits, half of which enters the name.
    """
    return f"{table}/{PACKS}/{made_at.astimezone(UTC):%Y%m%dT%H%M%S%f}Z-{digest[:16]}.parquet"


def parse_pack(path: str) -> str | None:
    """Return the table of a pack of records, or None for any other path."""
    match = _PACK.fullmatch(path)
    return match[1] if match and match[1] in schema.TABLES else None


def _takes_imports(table: str) -> bool:
    return table in schema.TABLES and schema.TABLES[table].imported


def empty_path(table: str) -> str:
    """Return the path of the file of no rows that gives a table its type, with the partitions of the real files."""
    partitions = schema.SETS[table].partitions if table in schema.SETS else ()
    folders = "".join(f"{name}=none/" for name in partitions)
    return f"{SCHEMA_FOLDER}/{table}/{folders}empty.parquet"


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can be part of a path on any file system or object store.

    Raises
    ------
    ConfigurationError
        If it is empty, too long, or holds anything but letters, digits and ``. _ + -``.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise ConfigurationError(
            f"The name of a {kind} must be 1 to 100 letters, digits, '.', '_', '+' or '-', starting with a letter or "
            f"digit, because it becomes part of a path. Got {name!r}."
        )
    return name


def content_key(parts: Mapping[str, Any]) -> str:
    """Hash everything that can change the bytes: equal parts, equal key.

    Parameters
    ----------
    parts : mapping
        JSON-serialisable values, or `KeyText` for those that other keys have, too. `KEY_VERSION` is added, under the
        name that it had first.

    Returns
    -------
    str
        24 hexadecimal digits (96 bits) of SHA-256.
    """
    canonical = key_text({**parts, "schema_version": KEY_VERSION}).text
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class KeyText:
    """A part of keys as `content_key` hashes it. Where thousands of keys share a part, its text is made once."""

    text: str


def key_text(value: Any) -> KeyText:
    """Return the text of a part of a key: of a JSON-serialisable value, or of a mapping whose values may be texts."""
    if type(value) is KeyText:
        return value
    if not isinstance(value, Mapping) or KeyText not in map(type, value.values()):
        return KeyText(_encode(value))
    texts = [f"{_name(name)}:{key_text(value[name]).text}" for name in sorted(value)]
    return KeyText(f"{{{','.join(texts)}}}")


def key_texts(parts: Mapping[str, Any]) -> dict[str, KeyText]:
    """Return the texts of several parts of a key."""
    return {name: key_text(value) for name, value in parts.items()}


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@cache
def _name(name: str) -> str:
    return _encode(name)


def added_later(default: Any, *, hash: bool | None = None) -> Any:  # noqa: A002 - the name that dataclasses give it
    """Declare a dataclass field that is younger than stored keys of its record.

    `key_fields` leaves it out of a key where it has its default, so that all older keys stay as they are. The default
    must therefore mean what was done before there was the field.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Crop:
    ...     size: int
    ...     border: int = added_later(0)
    >>> key_fields(Crop(224)), key_fields(Crop(224, border=8))
    ({'size': 224}, {'size': 224, 'border': 8})
    """
    return field(default=default, hash=hash, metadata={_ADDED_LATER: True})


def key_fields(record: DataclassInstance, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a record as parts of a key, those of records inside it included.

    Parameters
    ----------
    record : dataclass instance
    without : collection of str
        Fields that do not change what the key names.

    Returns
    -------
    dict of str to JSON-serialisable values
        Without the fields that were `added_later` and have their default.
    """
    own = (entry for entry in _entries(type(record)) if entry.name not in without)
    values = ((entry, getattr(record, entry.name)) for entry in own)
    return {entry.name: _key_value(value) for entry, value in values if not _as_before(entry, value)}


_ADDED_LATER = "added later"
_PLAIN = frozenset({str, int, float, bool, type(None)})


@cache
def _entries(kind: type[DataclassInstance]) -> tuple[Field[Any], ...]:
    return fields(kind)


def _as_before(entry: Field[Any], value: Any) -> bool:
    return bool(entry.metadata) and _ADDED_LATER in entry.metadata and bool(value == entry.default)


def _key_value(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return key_fields(value)
    return tuple(map(_key_value, value)) if isinstance(value, tuple | list) else value
