"""Check the parts of sets: each is read once, and its rows are compared with those of the images that it belongs to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.care.findings import (
    MAKE_SET_ANEW,
    MEND,
    MEND_PART,
    NOT_WRITTEN_SO,
    Finding,
    error,
    gone,
    unread,
    unsigned,
)
from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.networks.installation import Installation
from featurestore.plain_text import counted
from featurestore.store import layout, schema
from featurestore.store.digests import is_sealed
from featurestore.store.feature_store import MADE_WITH, made_with, said_of_making
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import Storage

Set = FeatureSet | SampleSet

_SHARED = ("sample_id", "index", "label", "labels", "group")  # columns that features have from their images


@dataclass(frozen=True, slots=True)
class Part:
    """A part as its manifest describes it.

    Attributes
    ----------
    start : int
        Rows of the set before it.
    whole : tuple of str
        Files that go where its rows contradict each other: the whole set where that is not signed. In a signed one they
        are what was written.
    """

    item: Set
    path: str
    shard: int
    rows: int
    bytes: int
    sha256: str
    start: int
    whole: tuple[str, ...]

    @property
    def to_remove(self) -> tuple[str, str]:
        """Files that go when it is made anew: the manifest first, so that the set is never half there."""
        return (f"{self.path.rpartition('/')[0]}/{layout.MANIFEST}", self.path)


class Made(NamedTuple):
    """What the images of a part were made with, as the part itself says.

    Attributes
    ----------
    installation : Installation
    fingerprint : tuple of float or None
        What the network gave for the trial images; None if an earlier version made the part.
    """

    installation: Installation
    fingerprint: tuple[float, ...] | None


Makings = Counter[Made]
"""Number of images that were made with each."""


class Checked(NamedTuple):
    """What was found out about a file.

    Attributes
    ----------
    findings : list of Finding
    kind : str, optional
        Type of its feature vectors, if it has any.
    made : Made, optional
    whole : bool
        Whether all was compared that there is to compare.
    """

    findings: Sequence[Finding]
    kind: str | None = None
    made: Made | None = None
    whole: bool = True


class Images(NamedTuple):
    """The readable images of a part of an image table, by the columns that features have from them.

    Attributes
    ----------
    path : str
        The part.
    """

    path: str
    rows: pa.Table


def check_part(
    storage: Storage, part: Part, *, images: Images | None = None, keep_images: bool = False
) -> tuple[Checked, Images | None]:
    """Read and check a part once; one whose checksum is not that of its manifest is not decoded at all.

    Parameters
    ----------
    images : Images, optional
        The images that its features are of, where these are known.
    keep_images : bool
        Whether the rows of a part of an image table are needed.

    Returns
    -------
    tuple of (Checked, Images or None)
        The images of a part of an image table in which nothing is wrong.
    """
    try:
        content = storage.read_sound(part.path, lambda content: hashlib.sha256(content).hexdigest() == part.sha256)
        with storage.parsing(part.path):
            reader = pq.ParquetReader()
            reader.open(pa.BufferReader(content))
            table = reader.read_all(use_threads=False)
        problems = list(_row_problems(part, table, images))
    except DamagedFileError as broken:
        read = broken.__cause__
        what = f"it cannot be read: {read}" if read else f"{NOT_WRITTEN_SO}: the checksum differs"
        return Checked([error(part.path, what, MEND_PART, remove=part.to_remove)]), None
    except StoreError as problem:
        return Checked([unread_or_gone(part.path, problem)]), None
    advice = f"{MEND} with its whole set" if part.whole else MAKE_SET_ANEW
    findings = [error(part.path, what, advice, remove=part.whole) for what in problems]
    found = None
    if keep_images and not findings:
        found = Images(part.path, table.select(_SHARED).filter(table.column("readable")))
    return Checked(findings, *_of_features(table)), found


def _of_features(table: pa.Table) -> tuple[str | None, Made | None]:
    if "feature" not in table.column_names:
        return None, None
    return str(table.schema.field("feature").type), _made((table.schema.metadata or {}).get(MADE_WITH, b"{}"))


@lru_cache(maxsize=256)
def _made(said: bytes) -> Made | None:
    """Return what a part was made with, by what it says of that; most parts say the same."""
    found = made_with(said_of_making({MADE_WITH: said}))
    if found is None:
        return None
    own = Installation(json.dumps(found["versions"] or {}, sort_keys=True), found["device"] or "an unknown device")
    return Made(own, tuple(found["fingerprint"]) if found["fingerprint"] else None)


def check_seal(storage: Storage, name: str, *, trusted: bool) -> list[Finding]:
    """Check a part of a set that no manifest describes: nothing but its seal says that it is whole.

    Parameters
    ----------
    trusted : bool
        Whether one without a seal, which an earlier version wrote, may be whole. It may not where the set had a
        manifest: its digests, the only ones of such a part, are lost.
    """
    advice = f"{MEND}: only this shard is made anew"
    try:
        content = storage.read_intact(name)
        with storage.parsing(name):
            pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
    except DamagedFileError:
        return [error(name, NOT_WRITTEN_SO, advice, remove=[name])]
    except StoreError as problem:
        return [unread_or_gone(name, problem)]
    if is_sealed(content):
        return []
    if trusted:
        return [unsigned(name)]
    return [
        error(name, "nothing says any more whether it is whole: it has no digest of its own", advice, remove=[name])
    ]


def unread_or_gone(name: str, problem: StoreError) -> Finding:
    """Return the finding about a file that cannot be read now, or is not there."""
    if isinstance(problem, MissingFileError):
        return gone(name, "the file is missing", "verify --mend says how to make it anew")
    return unread(name, problem)


def _row_problems(part: Part, table: pa.Table, images: Images | None) -> Iterator[str]:
    if len(table) != part.rows:
        yield f"it has {counted(len(table), 'row')}, but its manifest says {part.rows}"
    wanted = _columns(part.item, table.schema)
    if wanted is None:
        yield "it has no column of feature vectors"
        return
    if not table.schema.equals(wanted):
        if difference := _difference(table.schema, wanted):
            yield f"its columns are not those of the table: {difference}"
            return
        table = schema.by_name(table, wanted)
    yield from _null_problems(table)
    if isinstance(part.item, SampleSet):
        yield from _image_problems(table, part.start)
    else:
        yield from _feature_problems(table)
        if images:
            yield from _differences(table, images)


def _columns(item: Set, found: pa.Schema) -> pa.Schema | None:
    """Return the columns that a part should have; None if it has no feature vectors to tell their type and length."""
    if isinstance(item, SampleSet):
        return schema.SAMPLES
    vector = found.field("feature").type if "feature" in found.names else pa.null()
    if not pa.types.is_fixed_size_list(vector) or not pa.types.is_floating(vector.value_type):
        return None
    return schema.features(vector.value_type, vector.list_size)


def _difference(found: pa.Schema, wanted: pa.Schema) -> str | None:
    """Name the first column in which a file differs from its table; a column that can be null may be newer than it."""
    for name in [*wanted.names, *found.names]:
        if name not in wanted.names:
            return f"{name} is not known"
        if name not in found.names:
            if not wanted.field(name).nullable:
                return f"{name} is missing"
        elif not found.field(name).equals(wanted.field(name)):
            return f"{name} is {found.field(name).type}, not {wanted.field(name).type}"
    return None


def _null_problems(table: pa.Table) -> Iterator[str]:
    for field in table.schema:
        if not field.nullable and table.column(field.name).null_count:
            yield f"{table.column(field.name).null_count} values of {field.name} are missing"


def _image_problems(table: pa.Table, start: int) -> Iterator[str]:
    index = table.column("index").to_numpy()
    if not np.array_equal(index, np.arange(start, start + len(table))):
        yield f"its images are not numbered {start} to {start + len(table) - 1} without a gap"
    if pc.any(pc.not_equal(pc.is_null(table.column("reason")), table.column("readable"))).as_py():
        yield "an image is unreadable without a reason, or readable with one"
    both = pc.equal(pc.is_null(table.column("label")), pc.is_null(table.column("labels")))
    if pc.any(both).as_py():
        yield "an image has neither label nor labels, or both"


def _feature_problems(table: pa.Table) -> Iterator[str]:
    if (np.diff(table.column("index").to_numpy()) <= 0).any():
        yield "its images are not in order"
    values = table.column("feature").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        yield f"{counted(bad, 'feature')} {'is' if bad == 1 else 'are'} NaN or infinite"


def _differences(table: pa.Table, images: Images) -> Iterator[str]:
    """Name the columns in which features differ from the readable images of their part of the image table."""
    if len(images.rows) != len(table):
        had, readable = counted(len(table), "row"), counted(len(images.rows), "readable image")
        yield f"it has {had} for the {readable} of {images.path}"
        return
    for name in _SHARED:
        if not table.column(name).equals(images.rows.column(name)):
            yield f"{name} differs from {images.path}"
