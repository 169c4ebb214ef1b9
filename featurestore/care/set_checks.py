"""Check the manifests of sets: what each says of its parts, and whether these are there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from featurestore.care.findings import (
    MAKE_SET_ANEW,
    MEND,
    MEND_PART,
    NOT_WRITTEN_SO,
    RUN_AGAIN,
    Finding,
    error,
    gone,
    unsigned,
    warning,
)
from featurestore.care.part_checks import Made, Makings, Part, Set, unread_or_gone
from featurestore.errors import StoreError
from featurestore.networks.installation import described
from featurestore.plain_text import counted
from featurestore.store import layout
from featurestore.store.feature_store import CHECKSUM, checksum, is_signed, parsed_manifest
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import Storage, StoredFile


@dataclass
class Described:
    """A set as its manifest describes it.

    Attributes
    ----------
    manifest : dict, optional
        None if it is damaged or cannot be read.
    parts : list of Part
        All of them, in order; none without a manifest.
    images : SampleSet, optional
        The image table of features, where it is complete.
    findings : list of Finding
        About the manifest, and about parts that are not there or of another size.
    damaged : bool
        Whether it has a manifest that describes nothing: then only seals say what parts are whole.
    """

    item: Set
    manifest: dict[str, Any] | None = None
    parts: list[Part] = field(default_factory=list)
    images: SampleSet | None = None
    findings: list[Finding] = field(default_factory=list)
    damaged: bool = False

    def there(self, files: Mapping[str, StoredFile]) -> Iterator[Part]:
        """Yield the parts that are there with their size."""
        return (part for part in self.parts if part.path in files and files[part.path].size == part.bytes)


def describe(storage: Storage, item: Set, files: Mapping[str, StoredFile], folders: Collection[str]) -> Described:
    """Read the manifest of a set that has one.

    Parameters
    ----------
    files : mapping of str to StoredFile
        Every file of the store, by its name.
    folders : collection of str
        Every folder that has files.
    """
    place = f"{item.folder}/{layout.MANIFEST}"
    try:
        content, _ = storage.read_settled(place, lambda content: parsed_manifest(item, content) is not None)
    except StoreError as problem:
        return Described(item, findings=[unread_or_gone(place, problem)])
    try:
        manifest = json.loads(bytes(content))
        problems = list(_manifest_problems(item, manifest))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
        manifest, problems = {}, [f"it cannot be read as a manifest ({type(broken).__name__}: {broken})"]
    if problems:
        advice = f"{MEND}: the study writes it again"
        return Described(item, findings=[error(place, what, advice, remove=[place]) for what in problems], damaged=True)
    found = Described(item, manifest, _parts(item, manifest), _images_of(item, manifest))
    if not is_signed(manifest):
        found.findings.append(unsigned(place))
    if found.images and f"{found.images.folder}/{layout.MANIFEST}" not in files:
        found.findings.append(_without_images(item, found.images, folders))
        found.images = None
    elif isinstance(item, FeatureSet) and not found.images:
        what = "its manifest names no image table, so its rows cannot be compared"
        found.findings.append(warning(item.folder, what, MAKE_SET_ANEW))
    found.findings.extend(_file_findings(found.parts, files))
    return found


def several_types(found: Described, kinds: Iterable[str]) -> Iterator[Finding]:
    """Yield an error if the parts of a set hold features of several types."""
    if len(kinds := list(kinds)) > 1:
        whole = found.parts[0].whole
        what = f"its parts hold features of different types: {', '.join(kinds)}"
        yield error(found.item.folder, what, f"{MEND} with its whole set" if whole else MAKE_SET_ANEW, remove=whole)


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


def _without_images(item: Set, images: SampleSet, folders: Collection[str]) -> Finding:
    """Return the finding about features whose image table is gone, or whose run was stopped before it was complete."""
    if images.folder in folders:
        return warning(item.folder, f"its image table {images.folder} is not complete", RUN_AGAIN)
    what = f"the image table is missing, but {item.folder} was extracted from its images"
    return gone(f"{images.folder}/{layout.MANIFEST}", what, "verify --mend says what makes it again")


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


def _parts(item: Set, manifest: Mapping[str, Any]) -> list[Part]:
    starts = accumulate((part["rows"] for part in manifest["parts"]), initial=0)
    paths = [f"{item.folder}/{part['name']}" for part in manifest["parts"]]
    whole = () if is_signed(manifest) else (f"{item.folder}/{layout.MANIFEST}", *paths)
    return [
        Part(item, path, shard, part["rows"], part["bytes"], part["sha256"], start, whole)
        for shard, (part, path, start) in enumerate(zip(manifest["parts"], paths, starts, strict=False))
    ]


def _file_findings(parts: Iterable[Part], files: Mapping[str, StoredFile]) -> Iterator[Finding]:
    for part in parts:
        if part.path not in files:
            advice = "verify --mend removes the manifest beside it: only this shard is made anew"
            yield gone(part.path, "the file is missing", advice, remove=part.to_remove[:1])
        elif files[part.path].size != part.bytes:
            what = f"it has {files[part.path].size} bytes, but its manifest says {part.bytes}"
            yield error(part.path, what, MEND_PART, remove=part.to_remove)
