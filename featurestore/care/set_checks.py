"""Check one complete set: its manifest, its files, their rows, and that features agree with their images."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.care.findings import (
    MAKE_SET_ANEW,
    MEND,
    MEND_PART,
    NOT_WRITTEN_SO,
    RUN_AGAIN,
    Finding,
    error,
    gone,
    unread,
    unsigned,
    warning,
)
from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.networks.installation import Installation, described
from featurestore.plain_text import counted
from featurestore.store import layout, schema
from featurestore.store.digests import is_intact, is_sealed
from featurestore.store.feature_store import CHECKSUM, checksum, is_signed, made_with, parsed_manifest, said_of_making
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import Storage, StoredFile

Set = FeatureSet | SampleSet

_SHARED = ("sample_id", "index", "label", "labels", "group")  # columns that features have from their images


@dataclass(frozen=True)
class _Part:
    """A part as its manifest describes it.

    Attributes
    ----------
    start : int
        Rows of the set before it.
    images : str, optional
        The part of the image table that it belongs to, of features.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    start: int
    images: str | None

    @property
    def to_remove(self) -> tuple[str, str]:
        """Files that go when it is made anew: the manifest first, so that the set is never half there."""
        return (f"{self.path.rpartition('/')[0]}/{layout.MANIFEST}", self.path)


@dataclass(frozen=True)
class _Checked:
    """What was found out about a part, and the type of its feature vectors, if it has any."""

    findings: list[Finding]
    kind: str | None = None
    made: Made | None = None


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


def check_set(
    storage: Storage,
    item: Set,
    files: Mapping[str, StoredFile],
    pool: Executor,
    *,
    unsound: Collection[str],
    image_parts: Callable[[SampleSet], Mapping[int, str]],
    makings: Callable[[FeatureSet, Mapping[str, Any]], Makings],
) -> Iterator[Finding]:
    """Check a set that has a manifest.

    Parameters
    ----------
    files : mapping of str to StoredFile
        Every file of the store, by its name.
    pool : Executor
        Parts are checked in it, as many at once as it has threads; no more are in memory.
    unsound : collection of str
        Parts of image tables with which features are not compared, because they have findings of their own.
    image_parts : callable
        `named_parts` of an image table.
    makings : callable
        Function that returns what is counted of the features of a model, by a set and its manifest.
    """
    place = f"{item.folder}/{layout.MANIFEST}"
    try:
        content, _ = storage.read_settled(place, lambda content: parsed_manifest(item, content) is not None)
    except StoreError as problem:
        yield _unread_or_gone(place, problem)
        return
    try:
        manifest = json.loads(bytes(content))
        problems = list(_manifest_problems(item, manifest))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        manifest, problems = {}, [f"it cannot be read as a manifest ({type(broken).__name__}: {broken})"]
    if problems:
        yield from (error(place, what, f"{MEND}: the study writes it again", remove=[place]) for what in problems)
        yield from check_parts(storage, item, files, pool, trusted=False)
        return
    if not is_signed(manifest):
        yield unsigned(place)
    images = _images_of(item, manifest)
    if images and f"{images.folder}/{layout.MANIFEST}" not in files:
        yield _without_images(item, images, files)
        images = None
    elif isinstance(item, FeatureSet) and not images:
        yield warning(item.folder, "its manifest names no image table, so its rows cannot be compared", MAKE_SET_ANEW)
    described_parts = _parts(item, manifest, image_parts(images) if images else {})
    parts = [replace(part, images=None) if part.images in unsound else part for part in described_parts]
    yield from _file_findings(parts, files)
    sound = [part for part in parts if part.path in files and files[part.path].size == part.bytes]
    whole = () if is_signed(manifest) else (place, *(part.path for part in parts))
    kinds: dict[str, str] = {}
    own: Makings = Counter()
    for part, checked in zip(sound, pool.map(partial(_checked, storage, item, whole), sound), strict=True):
        yield from checked.findings
        _count(part, checked, kinds, own)
    if len(kinds) > 1:
        what = f"its parts hold features of different types: {', '.join(kinds)}"
        yield error(item.folder, what, f"{MEND} with its whole set" if whole else MAKE_SET_ANEW, remove=whole)
    if isinstance(item, FeatureSet):
        makings(item, manifest).update(own)
        yield from mixed(place, "its features", own)


def _count(part: _Part, checked: _Checked, kinds: dict[str, str], makings: Makings) -> None:
    """Take note of the type of a part's features, and of what made them."""
    if checked.kind:
        kinds.setdefault(checked.kind, part.path)
    if checked.made:
        makings[checked.made] += part.rows


def mixed(place: str, what: str, makings: Makings) -> Iterator[Finding]:
    """Yield a warning if features were made with several installations, or networks that give several things."""
    if len(makings) < 2:
        return
    (first, n_first), *others = makings.most_common()
    counts = [f"{counted(n_first, 'image')} with {_named(first, others[0][0])}"]
    counts += [f"{n:,} with {_named(made, first)}" for made, n in others]
    fingerprints = {made.fingerprint for made in makings}
    if None in fingerprints:
        told = "whether they give the same is not known"
    elif len(fingerprints) == 1:
        told = "all of them give the same for the trial images"
    else:
        told = "they give other features for the trial images"
    text = f"{what} were made with {len(makings)} installations: {', '.join(counts)}; {told}"
    yield warning(place, text, "probestore query mixed_versions counts them; to have one, " + MAKE_SET_ANEW)


def _named(made: Made, other: Made) -> str:
    """Name what an installation has that another one has not."""
    return described(made.installation, other.installation)[0] or "the same versions and another network"


def _made(metadata: Mapping[bytes, bytes] | None) -> Made | None:
    found = made_with(said_of_making(metadata))
    if found is None:
        return None
    own = Installation(json.dumps(found["versions"] or {}, sort_keys=True), found["device"] or "an unknown device")
    return Made(own, tuple(found["fingerprint"]) if found["fingerprint"] else None)


def _without_images(item: Set, images: SampleSet, files: Mapping[str, StoredFile]) -> Finding:
    """Return the finding about features whose image table is gone, or whose run was stopped before it was complete."""
    if any(name.startswith(f"{images.folder}/") for name in files):
        return warning(item.folder, f"its image table {images.folder} is not complete", RUN_AGAIN)
    what = f"the image table is missing, but {item.folder} was extracted from its images"
    return gone(f"{images.folder}/{layout.MANIFEST}", what, "verify --mend says what makes it again")


def check_parts(
    storage: Storage, item: Set, files: Mapping[str, StoredFile], pool: Executor, *, trusted: bool
) -> Iterator[Finding]:
    """Check the parts of a set that no manifest describes: nothing but their seals says that they are whole.

    Parameters
    ----------
    files, pool
        As for `check_set`.
    trusted : bool
        Whether a part without a seal, which an earlier version wrote, may be whole. It may not where the set had a
        manifest: its digests, the only ones of such a part, are lost.
    """
    parts = [name for name in files if name.startswith(f"{item.folder}/") and layout.parse_part(_short(name))]
    for findings in pool.map(lambda name: _part_findings(storage, name, trusted=trusted), parts):
        yield from findings


def _part_findings(storage: Storage, name: str, *, trusted: bool) -> list[Finding]:
    advice = f"{MEND}: only this shard is made anew"
    try:
        content = storage.read_intact(name)
        with storage.parsing(name):
            pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
    except DamagedFileError:
        return [error(name, NOT_WRITTEN_SO, advice, remove=[name])]
    except StoreError as problem:
        return [_unread_or_gone(name, problem)]
    if is_sealed(content):
        return []
    if trusted:
        return [unsigned(name)]
    return [
        error(name, "nothing says any more whether it is whole: it has no digest of its own", advice, remove=[name])
    ]


def _unread_or_gone(name: str, problem: StoreError) -> Finding:
    if isinstance(problem, MissingFileError):
        return gone(name, "the file is missing", "verify --mend says how to make it anew")
    return unread(name, problem)


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _manifest_problems(item: Set, manifest: dict[str, Any]) -> Iterator[str]:
    if CHECKSUM in manifest and manifest[CHECKSUM] != checksum(manifest):
        yield NOT_WRITTEN_SO
        return
    for name in ("model", "tap", "dataset", "split", "folder"):
        if name in manifest and manifest[name] != getattr(item, name, manifest[name]):
            yield f"it is the manifest of {name} {manifest[name]}"
    parts = manifest["parts"]
    if [layout.parse_part(part["name"]) for part in parts] != [(shard, len(parts)) for shard in range(len(parts))]:
        yield "its parts are not numbered from first to last"
    if sum(part["rows"] for part in parts) != manifest["rows"]:
        yield f"its parts have {sum(part['rows'] for part in parts)} rows together, but it says {manifest['rows']}"
    if not all(isinstance(part["bytes"], int) and isinstance(part["sha256"], str) for part in parts):
        yield "sizes or checksums are missing"


def _images_of(item: Set, manifest: Mapping[str, Any]) -> SampleSet | None:
    if isinstance(item, SampleSet) or "samples" not in manifest:
        return None
    return SampleSet(item.dataset, item.split, manifest["samples"])


def named_parts(storage: Storage, item: Set) -> Mapping[int, str]:
    """Return shard -> path of its file as the manifest names it; nothing if that is damaged or out of reach."""
    try:
        found = storage.read_settled(
            f"{item.folder}/{layout.MANIFEST}", lambda content: parsed_manifest(item, content) is not None
        )
    except StoreError:  # that has a finding of its own
        return {}
    manifest = parsed_manifest(item, found[0]) or {"parts": []}
    return {shard: f"{item.folder}/{part['name']}" for shard, part in enumerate(manifest["parts"])}


def _parts(item: Set, manifest: Mapping[str, Any], images: Mapping[int, str]) -> list[_Part]:
    starts = accumulate((part["rows"] for part in manifest["parts"]), initial=0)
    return [
        _Part(
            path=f"{item.folder}/{part['name']}",
            rows=part["rows"],
            bytes=part["bytes"],
            sha256=part["sha256"],
            start=start,
            images=images.get(shard),
        )
        for shard, (part, start) in enumerate(zip(manifest["parts"], starts, strict=False))
    ]


def _file_findings(parts: Iterable[_Part], files: Mapping[str, StoredFile]) -> Iterator[Finding]:
    for part in parts:
        if part.path not in files:
            advice = "verify --mend removes the manifest beside it: only this shard is made anew"
            yield gone(part.path, "the file is missing", advice, remove=part.to_remove[:1])
        elif files[part.path].size != part.bytes:
            what = f"it has {files[part.path].size} bytes, but its manifest says {part.bytes}"
            yield error(part.path, what, MEND_PART, remove=part.to_remove)


def _checked(storage: Storage, item: Set, whole: Sequence[str], part: _Part) -> _Checked:
    """Read and check a part once; one whose checksum is not that of its manifest is not decoded at all.

    Rows that contradict each other are to be removed with the `whole` set where it is not signed. In a signed one they
    are what was written.
    """
    try:
        content = storage.read_sound(part.path, lambda content: hashlib.sha256(content).hexdigest() == part.sha256)
        with storage.parsing(part.path):
            table = pq.read_table(pa.BufferReader(content), use_threads=False)
        kind = str(table.schema.field("feature").type) if "feature" in table.column_names else None
        problems = list(_row_problems(storage, item, part, table))
    except DamagedFileError as broken:
        read = broken.__cause__
        what = f"it cannot be read: {read}" if read else f"{NOT_WRITTEN_SO}: the checksum differs"
        return _Checked([error(part.path, what, MEND_PART, remove=part.to_remove)])
    except StoreError as problem:
        return _Checked([_unread_or_gone(part.path, problem)])
    advice = f"{MEND} with its whole set" if whole else MAKE_SET_ANEW
    findings = [error(part.path, what, advice, remove=whole) for what in problems]
    return _Checked(findings, kind, _made(table.schema.metadata) if kind else None)


def _row_problems(storage: Storage, item: Set, part: _Part, table: pa.Table) -> Iterator[str]:
    if len(table) != part.rows:
        yield f"it has {counted(len(table), 'row')}, but its manifest says {part.rows}"
    wanted = _columns(item, table.schema)
    if wanted is None:
        yield "it has no column of feature vectors"
        return
    if difference := _difference(table.schema, wanted):
        yield f"its columns are not those of the table: {difference}"
        return
    table = schema.by_name(table, wanted)
    yield from _null_problems(table)
    if isinstance(item, SampleSet):
        yield from _image_problems(table, part.start)
    else:
        yield from _feature_problems(table)
        if part.images:
            yield from _differences(table, storage, part.images)


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


def _differences(table: pa.Table, storage: Storage, images: str) -> Iterator[str]:
    """Name the columns in which features differ from the readable images of their part of the image table."""
    content, _ = storage.read_settled(images, lambda content: is_intact(content, images) is not False)
    with storage.parsing(images):
        samples = pq.read_table(pa.BufferReader(content), columns=[*_SHARED, "readable"])
    readable = samples.filter(samples.column("readable"))
    if len(readable) != len(table):
        yield f"it has {counted(len(table), 'row')} for the {counted(len(readable), 'readable image')} of {images}"
        return
    for name in _SHARED:
        if not table.column(name).equals(readable.column(name)):
            yield f"{name} differs from {images}"
