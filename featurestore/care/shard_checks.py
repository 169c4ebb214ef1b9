"""Check the sets of a store shard by shard: a part of an image table is read once, for the features of all models."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from featurestore.care.findings import Finding
from featurestore.care.looks import Looks
from featurestore.care.part_checks import Checked, Images, Makings, Part, Set, check_part, check_seal
from featurestore.care.set_checks import Described, describe, mixed, several_types
from featurestore.store import layout
from featurestore.store.evidence import Evidence
from featurestore.store.layout import FeatureSet, SampleSet
from featurestore.store.storage import Storage, StoredFile

T = TypeVar("T")
R = TypeVar("R")

_OF_THE_NETWORK = ("backbone", "weights_digest", "preprocessing", "compute", "arithmetic")
_FILES_AT_ONCE = 5000  # of sets whose manifests are in memory
_PARTS_OF_A_TASK = 32  # of features of one shard
_WAITING = 4  # tasks for each thread


class SetChecks:
    """Checks of all sets of a store.

    Parameters
    ----------
    storage : Storage
    files : mapping of str to StoredFile
        Every file of the store, by its name.
    folders : mapping of str to list of str
        Folder -> names of its files.
    looks : Looks
        Which parts are read.
    pool : Executor
    threads : int
        Number of its threads; so many parts are in memory, and image tables of as many shards.
    lost : collection of str
        Manifests that complete sets have lost: what such a set keeps is not to be trusted without a seal.
    """

    def __init__(
        self,
        storage: Storage,
        files: Mapping[str, StoredFile],
        folders: Mapping[str, list[str]],
        looks: Looks,
        pool: Executor,
        *,
        threads: int,
        lost: Collection[str],
    ) -> None:
        self._storage, self._files, self._folders = storage, files, folders
        self._looks, self._pool, self._threads, self._lost = looks, pool, threads, lost
        self._of_models: dict[tuple[str, str, str], Makings] = defaultdict(Counter)

    def run(self, sets: Iterable[Set], evidence: Evidence) -> Iterator[Finding]:
        """Check sets, complete or not. The evidence takes note of sound manifests."""
        for items in self._batches(sets):
            yield from self._check(items, evidence)
        if self._looks.share < 1:
            return  # what a sample was made with does not say what all of it was made with
        for (model, tap, _), counts in self._of_models.items():
            yield from mixed(f"features/model={model}", f"the features of all its sets at {tap}", counts)

    def _batches(self, sets: Iterable[Set]) -> Iterator[list[Set]]:
        """Yield sets of the same images together."""
        groups: dict[tuple[str, str], list[Set]] = defaultdict(list)
        for item in sorted(sets, key=lambda item: item.folder):
            groups[item.dataset, item.split].append(item)
        batch: list[Set] = []
        n_files = 0
        for group in groups.values():
            batch.extend(group)
            n_files += sum(len(self._folders[item.folder]) for item in group)
            if n_files >= _FILES_AT_ONCE:
                yield batch
                batch, n_files = [], 0
        yield batch

    def _check(self, items: Sequence[Set], evidence: Evidence) -> Iterator[Finding]:
        complete = [item for item in items if f"{item.folder}/{layout.MANIFEST}" in self._files]
        described = list(self._in_order(self._described, complete))
        for found in described:
            yield from found.findings
            if isinstance(found.item, FeatureSet) and found.manifest:
                evidence.note(found.item, found.manifest)
        damaged = [found.item for found in described if found.damaged]
        alone = [(item, f"{item.folder}/{layout.MANIFEST}" not in self._lost) for item in set(items) - set(complete)]
        seals = [
            (self._files[name], trusted)
            for item, trusted in [*alone, *((item, False) for item in damaged)]
            for name in self._folders[item.folder]
            if layout.parse_part(name.rpartition("/")[2])
        ]
        for checked in self._in_order(self._sealed, seals):
            yield from checked.findings
        yield from self._check_shards(described)

    def _described(self, item: Set) -> Described:
        return describe(self._storage, item, self._files, self._folders)

    def _sealed(self, task: tuple[StoredFile, bool]) -> Checked:
        file, trusted = task
        return self._looks.at(file, lambda: Checked(check_seal(self._storage, file.name, trusted=trusted)))

    def _check_shards(self, described: Sequence[Described]) -> Iterator[Finding]:
        kinds: dict[str, dict[str, int]] = defaultdict(dict)
        makings: dict[str, Makings] = defaultdict(Counter)
        for results in self._in_order(self._shard, list(self._tasks(described))):
            for part, checked in results:
                yield from checked.findings
                if checked.kind:
                    of_kind = kinds[part.item.folder]
                    of_kind[checked.kind] = min(part.shard, of_kind.get(checked.kind, part.shard))
                if checked.made:
                    makings[part.item.folder][checked.made] += part.rows
        for found in described:
            own = kinds[found.item.folder]
            yield from several_types(found, sorted(own, key=own.__getitem__))
            if isinstance(found.item, FeatureSet) and found.manifest and self._looks.share >= 1:
                self._of_model(found.item, found.manifest).update(makings[found.item.folder])
                place = f"{found.item.folder}/{layout.MANIFEST}"
                yield from mixed(place, "its features", makings[found.item.folder])

    def _of_model(self, item: FeatureSet, manifest: Mapping[str, Any]) -> Makings:
        network = {name: manifest.get(name) for name in _OF_THE_NETWORK}
        return self._of_models[item.model, item.tap, json.dumps(network, sort_keys=True)]

    def _tasks(self, described: Sequence[Described]) -> Iterator[_Task]:
        """Yield the parts of image tables, each with a few of the features of its shard; those of no images after."""
        shards: dict[tuple[SampleSet, int], list[Part]] = defaultdict(list)
        without: list[Part] = []
        for found in described:
            for part in found.there(self._files) if isinstance(found.item, FeatureSet) else ():
                (shards[found.images, part.shard] if found.images else without).append(part)
        for found in described:
            if isinstance(found.item, SampleSet):
                for part in found.there(self._files):
                    yield from _divided(_ShardImages(part), shards.pop((found.item, part.shard), []))
        rest = [part for parts in shards.values() for part in parts]  # their images are damaged, or of no such shard
        yield from _divided(_ShardImages(None), [*rest, *without])

    def _shard(self, task: _Task) -> list[tuple[Part, Checked]]:
        images = task.images
        if task.is_first and images.part:
            self._look_at(images.part, lambda: images.checked(self._storage, keep=bool(task.features)))
        against = images.part.sha256 if images.part else ""
        results = [
            (part, self._look_at(part, partial(self._features, part, images), against)) for part in task.features
        ]
        return results + images.done()

    def _look_at(self, part: Part, look: Callable[[], Checked], against: str = "") -> Checked:
        return self._looks.at(self._files[part.path], look, against=f"{part.sha256} {part.rows} {part.start} {against}")

    def _features(self, part: Part, images: _ShardImages) -> Checked:
        rows = images.rows(self._storage)
        checked, _ = check_part(self._storage, part, images=rows)
        return checked._replace(whole=rows is not None or images.part is None)

    def _in_order(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield what comes of tasks, in order; only so many wait that no thread is idle."""
        waiting: deque[Future[R]] = deque()
        for task in tasks:
            waiting.append(self._pool.submit(work, task))
            if len(waiting) > _WAITING * self._threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass
class _ShardImages:
    """The part of an image table of a shard, read by whoever needs it first; there may be none.

    Attributes
    ----------
    n_tasks : int
        Number of tasks that may still need it. Its rows are let go after the last one.
    """

    part: Part | None
    n_tasks: int = 0
    _is_told: bool = False
    _found: tuple[Checked, Images | None] | None = None
    _lock: Lock = field(default_factory=Lock)

    def checked(self, storage: Storage, *, keep: bool) -> Checked:
        return self._read(storage, keep=keep)[0]

    def rows(self, storage: Storage) -> Images | None:
        """Return its readable images; None if there is none, or something is wrong with it."""
        return self._read(storage, keep=True)[1] if self.part else None

    def done(self) -> list[tuple[Part, Checked]]:
        """Take note that a task is over. Return what was found out about the part, once, if it was read."""
        with self._lock:
            self.n_tasks -= 1
            found, told = self._found, self._is_told
            if found and self.n_tasks == 0:
                self._found = found[0], None
            if self.part is None or found is None or told:
                return []
            self._is_told = True
            return [(self.part, found[0])]

    def _read(self, storage: Storage, *, keep: bool) -> tuple[Checked, Images | None]:
        assert self.part is not None
        with self._lock:
            if self._found is None:
                self._found = check_part(storage, self.part, keep_images=keep)
            return self._found


@dataclass(frozen=True)
class _Task:
    """Features of a shard, and the images that they are of; the first task of a shard checks the images, too."""

    images: _ShardImages
    features: Sequence[Part]
    is_first: bool


def _divided(images: _ShardImages, parts: Sequence[Part]) -> Iterator[_Task]:
    starts = range(0, max(1, len(parts)), _PARTS_OF_A_TASK)
    images.n_tasks = len(starts)
    for start in starts:
        yield _Task(images, parts[start : start + _PARTS_OF_A_TASK], is_first=start == 0)
