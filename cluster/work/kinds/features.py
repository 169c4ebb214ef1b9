"""Features and image tables that a store lacks, made shard by shard. Every image is decoded once, for all models.

shard_done: dataset, split, shard, images, seconds, node, models, failed
    A shard is over, after `seconds` of one worker. `models` are the models that saw it. Each has its name `model`,
    `taps` (those whose feature sets got this shard) and `seconds` in its network. `failed` are the names of the models
    whose features could not be made. Models that are tried again on another node follow in an event of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import ClassVar

import numpy as np

from cluster.pool.units import Divided, Hands, Subject, Suspect, may_be_the_nodes, suspected_whole
from cluster.reporting.events import Event, Note, Part, Piece, UnitDone
from cluster.study.study_file import ExtractSettings, Study
from cluster.work.contract import Cost, Outcome, Run, StoreAddress, Work
from cluster.work.ledger import attempt_key
from cluster.work.missing_shards import MissingShard, Wanted, missing_shards
from cluster.work.model_trials import ModelTrials, Trial
from cluster.work.pairs import Pair, Place
from cluster.work.shard_queue import ShardQueue
from cluster.work.shard_stock import ShardStock
from cluster.work.unreadable_images import UnreadableImages
from cluster.work.wanted_features import WantedFeatures, model_groups
from featurestore import FeatureSet, FeatureStore, SampleSet, SplitSets
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DamagedFileError, DatasetError, DriftError, Failure, OtherFilesError, StoreError
from featurestore.extraction.shards import FullSet, Job, ShardReport
from featurestore.images.dataset_cache import DatasetCache
from featurestore.images.pixel_facts import PixelFacts
from featurestore.images.splits import Dataset
from featurestore.networks import user_modules
from featurestore.networks.identity import inputs_key
from featurestore.networks.shipped_modules import Shipment, shipment
from featurestore.networks.taps import CLASSIFIER_INPUTS
from featurestore.plain_text import counted
from featurestore.store.schema import SPLITS

_KIND = "features"
_STAGE = "extract"  # as the table `failures` has called it from the beginning
_MOST_SETS_AT_ONCE = 32
_THREADS = 8  # an object store takes its time for each manifest


@dataclass(frozen=True)
class Made:
    """The part of one model in a shard.

    Attributes
    ----------
    model : str
        Name of the model.
    taps : tuple of str
        Taps whose feature sets got the shard.
    seconds : float
        Time in the network.
    """

    model: str
    taps: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class ShardDone(UnitDone):
    """A shard is over."""

    stage: ClassVar[str] = _KIND

    dataset: str
    split: str
    shard: int
    images: int
    seconds: float
    node: str
    models: tuple[Made, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def amount(self) -> int:
        """Images x models."""
        return self.images * (len(self.models) + len(self.failed))

    @property
    def worker(self) -> tuple[str, float]:
        """Node that did the shard, and seconds that its worker took."""
        return self.node, self.seconds

    def made(self) -> Iterator[Piece]:
        """Return a piece for each tap of each model. Time that models share is divided as that in their networks."""
        in_networks = sum(made.seconds for made in self.models)
        for made in self.models:
            share = made.seconds / in_networks if in_networks else 1 / len(self.models)
            for tap in made.taps:
                yield Piece((made.model, tap, self.dataset, self.split), self.images, share * self.seconds)


@dataclass(frozen=True, kw_only=True)
class ShardUnit:
    """One shard, for the models that miss it.

    Attributes
    ----------
    store : StoreAddress
        Address of the store.
    python_path : str
        Folder in which modules of ``python:`` models are looked for, beside those of the installation.
    dataset, split, shard : DatasetSpec, str, int
        Dataset, its split, and the number of the shard.
    fingerprint : str
        Fingerprint of the dataset when the unit was planned.
    run_id : str
        Name of the run: the first worker of a node that needs the dataset in it looks at all files.
    n_images : int
        Number of images of the shard.
    jobs : tuple of Job
        Models, and the feature sets that each fills.
    batch_size : int, optional
        Images that go through a network at a time; by default what suits the worker's device.
    strict : bool
        Whether an unreadable image is an error.
    lost : tuple of str
        Models that miss the shard, too, and whose features cannot be made.
    """

    store: StoreAddress
    python_path: str
    dataset: DatasetSpec
    fingerprint: str
    run_id: str
    split: str
    shard: int
    n_images: int
    jobs: tuple[Job, ...]
    batch_size: int | None
    strict: bool
    lost: tuple[str, ...] = ()

    @property
    def targets(self) -> list[FeatureSet]:
        """Feature sets that get a part."""
        return [target for job in self.jobs for target, _ in job.targets]

    @property
    def amount(self) -> int:
        """Images x models."""
        return self.n_images * len(self.jobs)

    def run(self, hands: Hands) -> ShardReport:
        """Decode the shard once, and put it through every network."""
        from featurestore.extraction.extract import extract_shard
        from featurestore.networks.extractor import Extractors

        user_modules.look_in(self.python_path)
        return extract_shard(
            self.store.open(hands),
            self._dataset(hands),
            self.split,
            self.shard,
            self.jobs,
            hands.held("extractors", lambda: Extractors(hands.device, node=hands.node)),
            batch_size=self.batch_size or default_batch_size(hands.device),
            decode_threads=hands.threads,
            strict=self.strict,
        )

    def split_up(self) -> Sequence[ShardUnit]:
        """Return the same shard for one model at a time, so that a model on which workers die spares the others."""
        return [replace(self, jobs=(job,), lost=() if number else self.lost) for number, job in enumerate(self.jobs)]

    @property
    def subjects(self) -> list[Subject]:
        """The dataset and the models."""
        return [Subject("dataset", self.dataset.name), *(Subject("model", job.model.name) for job in self.jobs)]

    def divided(self, outcome: Outcome) -> Divided:
        """Tell the models that failed from the others. What fails as a whole is laid to the dataset."""
        if isinstance(outcome, Failure):
            return suspected_whole(self, outcome, Subject("dataset", self.dataset.name))
        report: ShardReport = outcome
        failed = {found.target for found in report.outcomes if may_be_the_nodes(found.failure)}
        suspects = [job for job in self.jobs if failed.intersection(target for target, _ in job.targets)]
        others = tuple(job for job in self.jobs if job not in suspects)
        rest = (replace(self, jobs=others), _of_jobs(report, others))
        return rest, [_suspect(self, job, report) for job in suspects]

    def _dataset(self, hands: Hands) -> Dataset:
        return hands.held((self.dataset, self.fingerprint), self._opened)

    def _opened(self) -> Dataset:
        """Open the dataset, which the driver could open."""
        try:
            return DatasetCache.default().open(self.dataset, self.fingerprint, self.run_id)
        except OtherFilesError:
            raise
        except (DatasetError, OSError) as error:
            raise OtherFilesError(
                f"{error} The machine that started the run could open dataset {self.dataset.name!r}: let every node "
                "see its files at the same path."
            ) from error

    def __str__(self) -> str:
        return f"{self.dataset.name} {self.split} shard {self.shard}"


def _of_jobs(report: ShardReport, jobs: Collection[Job]) -> ShardReport:
    """Return what a report says of some of its models."""
    targets = {target for job in jobs for target, _ in job.targets}
    return replace(report, outcomes=[found for found in report.outcomes if found.target in targets])


def _suspect(unit: ShardUnit, job: Job, report: ShardReport) -> Suspect:
    """Describe a model that failed. Its time has been told with the others."""
    own = replace(_of_jobs(report, [job]), seconds=0.0)

    def outcome(change: Callable[[Failure], Failure]) -> ShardReport:
        told = (replace(found, failure=change(found.failure)) if found.failure else found for found in own.outcomes)
        return replace(own, outcomes=list(told))

    first = next(found.failure for found in own.outcomes if may_be_the_nodes(found.failure))
    assert first is not None
    return Suspect(replace(unit, jobs=(job,), lost=()), Subject("model", job.model.name), first, outcome)


def default_batch_size(device: str) -> int:
    """Return the number of images that suits a device.

    On a CPU it is small, so that activations stay in the cache: 4 are twice as fast as 32. On a GPU it is large enough
    to fill it. It never depends on the threads, because another number can change the last bit of a feature.
    """
    return 256 if device == "cuda" else 4


@dataclass(frozen=True)
class Completion:
    """The manifests of sets whose shards are all published."""

    store: StoreAddress
    sets: tuple[FullSet, ...]

    amount: ClassVar[int] = 0

    def run(self, hands: Hands) -> list[Failure | None]:
        """Write the manifests. Return the failure of each set; None where there was none."""
        store = self.store.open(hands)
        with ThreadPoolExecutor(min(_THREADS, len(self.sets))) as threads:
            return list(threads.map(lambda full: _complete(full, store), self.sets))

    def split_up(self) -> Sequence[Completion]:
        """Return one unit for each set."""
        return [replace(self, sets=(full,)) for full in self.sets]

    def __str__(self) -> str:
        return f"manifests of {len(self.sets)} sets, the first of {self.sets[0].item.folder}"


def _complete(full: FullSet, store: FeatureStore) -> Failure | None:
    try:
        full.complete(store)
    except DamagedFileError as error:  # one of its parts
        return Failure.of(error)
    except StoreError:  # nothing can be kept now, whatever it is of
        raise
    except Exception as error:  # a failure of this set, not of those that are completed with it
        return Failure.of(error)
    return None


def of_study(run: Run) -> Features | None:
    """Return the features that the study of a run wants."""
    return Features(run, run.study) if run.study else None


class Features(Work):
    """Features of every model and dataset of a study, at every tap."""

    UNIT = "images x models"
    PIECES = "shards"

    def __init__(self, run: Run, study: Study) -> None:
        self._run = run
        self._settings = study.extract
        self._folder = str(study.folder)
        self._stock = ShardStock(run.inventory)
        self._problems: dict[Place, str] = {}
        self._unreadable = UnreadableImages(run.datasets)
        self._pixels: dict[str, dict[tuple[str, int], PixelFacts]] = {name: {} for name in run.datasets}
        self._queue = ShardQueue()
        self._run_id = uuid.uuid4().hex
        self._listed: set[str] = set()
        self._total = 0
        self._gone = 0  # shards of complete sets
        self._items = {item.place: item for item in run.wanted}
        self._places: dict[str, list[Place]] = {name: [] for name in run.datasets}
        for place in self._items:
            self._places[place[-1]].append(place)
        run.pairs.want(map(pair_of, run.wanted))
        self._take_stock()
        self._unfinished = len(self._stock.due)  # sets that lack their manifest only
        self._enqueue(self._missing_now())
        self._trials = ModelTrials(run)
        taps = self._taps_in_queue()
        self._trials.recall(
            target
            for item in self._items.values()
            for target in item.sets.values()
            if item.model.name in taps and run.inventory.has_manifest(target)
        )
        self._trials.want(taps)
        self._said_of_trials = False

    @property
    def total(self) -> int:
        """Images x models that this run is to do, whether they are done or not."""
        return self._total

    def parts(self) -> Iterator[Part]:
        """Return how many shards are wanted of every feature set, and how many are there."""
        for dataset in self._run.datasets.values():
            for split in SPLITS:
                for item in self._items_of(dataset):
                    done = len(self._stock.shards(item.sets[split]))
                    yield Part(item.model.name, item.tap, dataset.spec.name, split, dataset.n_shards(split), done)

    def cost(self, part: Part) -> Cost:
        """Return the cost of the rest of a part. What several taps of a model share counts in the first of them."""
        item = self._items[part.model, part.tap, part.dataset]
        assert part.split is not None
        missing = self._missing_shards(item, part.split)
        alone = missing.difference(*(self._missing_shards(other, part.split) for other in self._earlier_taps(item)))
        images, own = _n_images(item.dataset, part.split, missing), _n_images(item.dataset, part.split, alone)
        width = item.model.spec.feature_dim if item.tap in CLASSIFIER_INPUTS else None
        per_image = self._run.rates.image_seconds(part.model, part.dataset) if own else 0.0
        return Cost(
            amount=own,
            n_bytes=images * width * np.dtype(item.storage).itemsize if width else (None if images else 0),
            seconds=per_image * own if per_image is not None else None,
            problems=(self._problems[item.place],) if part.split == SPLITS[0] and item.place in self._problems else (),
            pieces=self._other_pieces(item, part.split, missing),
        )

    def _other_pieces(self, item: WantedFeatures, split: str, missing: set[int]) -> int:
        """Return how many shards lack their images only; they count in the first features of the dataset."""
        if item.place != self._places[item.dataset.spec.name][0]:
            return 0
        return len(set(range(item.dataset.n_shards(split))) - self._stock.shards(item.dataset.samples(split)) - missing)

    def soon(self) -> int:
        """Return the number of shards that wait for the trial of a model."""
        return len(self._queue) if self._trials.running else 0

    def modules(self) -> Shipment | None:
        """Return the modules of ``python:`` models that lie beside the study."""
        specs = (model.spec for model in self._run.models.values())
        named = [spec.identifier.split(":")[0] for spec in specs if spec.family == "python"]
        return shipment(self._folder, named)

    def again(self) -> Iterator[str]:
        """Return a sentence about shards that were there, and are gone, and one about sets that lack their manifest."""
        gone, self._gone = self._gone, 0
        if gone:
            yield f"To make again: {counted(gone, 'shard')} of complete sets, whose files are gone."
        unfinished, self._unfinished = self._unfinished, 0
        if unfinished:
            yield f"To finish: {counted(unfinished, 'set')} without a manifest, whose shards are all there."
        if not self._said_of_trials:
            self._said_of_trials = True
            begun = {
                item.model.name for item in self._items.values() if any(map(self._stock.shards, item.sets.values()))
            }
            yield from self._trials.notes(begun)

    def missing(self) -> Iterator[ShardUnit | Completion | Trial]:
        """Return units for the manifests that can be written, then trials of models, then units for shards."""
        for text in self.again():
            self._run.tell(Note(text))
        while True:
            if sets := tuple(islice(self._due(), _MOST_SETS_AT_ONCE)):
                yield Completion(self._run.address, sets)
            elif unit := self._next():
                yield unit
            else:
                return

    def _next(self) -> ShardUnit | Trial | None:
        """Return the next shard whose models have been tried, or the trial of a model; None if all that is left waits.

        Trials come where a shard waits for them, and last those of models whose features are all there.
        """
        for models in self._queue.groups():
            if name := self._trials.next(models):
                return self._trials.begin(name, self._folder)
            if self._trials.running.isdisjoint(models):
                return self._unit(self._queue.take(models))
        name = self._trials.next()
        return self._trials.begin(name, self._folder) if name else None

    def skip(self, unit: ShardUnit | Completion | Trial) -> Iterable[Event] | None:
        """Leave out a shard if all features that it would give are lost or have other keys now."""
        if not isinstance(unit, ShardUnit) or not unit.jobs or any(map(self._is_wanted, unit.targets)):
            return None
        return [_shard_done(unit, None, "")]

    def told(self, unit: ShardUnit | Completion | Trial, outcome: Outcome, node: str) -> Iterator[Event]:
        """Take note of a shard, of manifests or of a trial."""
        if isinstance(outcome, Failure) and outcome.error == StoreError.__name__:
            raise StoreError(outcome.message)  # nothing could be kept now, whatever it is of
        if isinstance(unit, Completion):
            self._completed(unit, outcome)
            return
        if isinstance(unit, Trial):
            if failure := self._trials.over(unit, outcome):
                self._fail_trial(unit, failure)
            return
        yield _shard_done(unit, None if isinstance(outcome, Failure) else outcome, node)
        if isinstance(outcome, Failure):
            self._fail_unit(unit, outcome)
        else:
            yield from self._extracted(unit, outcome)

    def end(self) -> None:
        """Say what was found about the pixels of each dataset, and which installations gave the same."""
        self._trials.end({place[0] for place in self._problems})
        for name, dataset in self._run.datasets.items():
            for note in sum(self._pixels[name].values(), PixelFacts()).notes(dataset.spec):
                self._run.tell(Note(note))

    # ---- what is wanted, and what is there ---------------------------------------------------------------------

    def _take_stock(self) -> None:
        for dataset in self._run.datasets.values():
            for split in SPLITS:
                self._add_set(dataset.samples(split), dataset.n_shards(split))
        for item in self._items.values():
            complete = all(map(self._run.inventory.has, item.sets.values()))
            if complete:
                self._run.pairs.arrive(item.place)
            elif known := self._run.ledger.remembers(key := extraction_key(item, self._settings)):
                self._lose(item.place, known.failure)
                self._run.ledger.leave_alone(key, kind=_KIND)
            self._add(item)

    def _add(self, item: WantedFeatures) -> None:
        for split, target in item.sets.items():
            self._add_set(target, item.dataset.n_shards(split))

    def _add_set(self, item: FeatureSet | SampleSet, n_shards: int) -> None:
        self._stock.add(item, n_shards)
        if self._run.inventory.has_manifest(item):
            self._gone += n_shards - len(self._stock.shards(item))

    def _missing_now(self) -> list[MissingShard]:
        wanted = [self._wanted(dataset, split) for dataset in self._run.datasets.values() for split in SPLITS]
        lacking = {
            source.model for item in wanted for source, done in item.committed.items() if len(done) < item.n_shards
        }
        needed = [model for name, model in self._run.models.items() if name in lacking]
        return missing_shards(wanted, model_groups(needed, self._settings.model_memory_gb) or [()])

    def _wanted(self, dataset: Dataset, split: str) -> Wanted:
        items = [item for item in self._items_of(dataset) if item.place not in self._problems]
        committed = {item.source: self._stock.shards(item.sets[split]) for item in items}
        return Wanted(
            dataset.spec.name,
            split,
            len(dataset.splits[split].rows),
            dataset.n_shards(split),
            dataset.shard_images(split),
            committed,
            self._stock.shards(dataset.samples(split)),
        )

    def _enqueue(self, shards: Iterable[MissingShard]) -> None:
        for shard in shards:
            self._queue.add(shard)
            self._total += shard.passes

    def _taps_in_queue(self) -> dict[str, set[str]]:
        """Return the models that have shards to make, with the taps of these."""
        taps: dict[str, set[str]] = {}
        for part in {part for shard in self._queue for part in shard.parts}:
            taps.setdefault(part.model, set()).add(part.tap)
        return taps

    def _items_of(self, dataset: Dataset) -> Iterator[WantedFeatures]:
        return (self._items[place] for place in self._places[dataset.spec.name])

    def _earlier_taps(self, item: WantedFeatures) -> Iterator[WantedFeatures]:
        for tap in self._settings.taps[: self._settings.taps.index(item.tap)]:
            yield self._items[item.model.name, tap, item.dataset.spec.name]

    def _missing_shards(self, item: WantedFeatures, split: str) -> set[int]:
        return set(range(item.dataset.n_shards(split))) - self._stock.shards(item.sets[split])

    # ---- units -------------------------------------------------------------------------------------------------

    def _unit(self, missing: MissingShard) -> ShardUnit:
        """Return the unit of a shard, without models that have failed meanwhile. If all have, it is left out."""
        dataset = self._run.datasets[missing.dataset]
        if missing.dataset not in self._listed:  # for the workers of this machine
            self._listed.add(missing.dataset)
            DatasetCache.default().keep(dataset, self._run_id)
        jobs = list(self._jobs(missing))
        sound = [job for job in jobs if any(self._is_wanted(target) for target, _ in job.targets)] or jobs
        return ShardUnit(
            store=self._run.address,
            python_path=self._folder,
            dataset=dataset.spec,
            fingerprint=dataset.fingerprint,
            run_id=self._run_id,
            split=missing.split,
            shard=missing.shard,
            n_images=missing.n_images,
            jobs=tuple(sound),
            batch_size=self._settings.batch_size,
            strict=self._settings.strict,
            lost=tuple(job.model.name for job in jobs if job not in sound),
        )

    def _jobs(self, missing: MissingShard) -> Iterator[Job]:
        for _, parts in groupby(missing.parts, key=lambda part: part.model):
            items = [self._items[*part, missing.dataset] for part in parts]
            targets = tuple((item.sets[missing.split], item.storage) for item in items)
            model = items[0].model
            yield Job(model, targets, self._settings.max_relative_error, self._trials.references(model.name))

    def _due(self) -> Iterator[FullSet]:
        """Take the sets that can be completed, without those whose features are stored as another type now."""
        while self._stock.due:
            item = self._stock.due.popleft()
            if isinstance(item, SampleSet) or self._is_current(item):
                yield self._full(item)

    def _full(self, item: FeatureSet | SampleSet) -> FullSet:
        parts = self._stock.parts(item)
        if isinstance(item, SampleSet):
            return replace(FullSet.of_samples(self._run.datasets[item.dataset], item.split), parts=parts)
        known = self._items[item.place]
        full = FullSet.of_features(known.model, known.dataset, item.split, known.storage, tap=known.tap)
        return replace(full, parts=parts)

    # ---- outcomes ----------------------------------------------------------------------------------------------

    def _completed(self, unit: Completion, outcome: Outcome) -> None:
        failures = [outcome] * len(unit.sets) if isinstance(outcome, Failure) else outcome
        for full, failure in zip(unit.sets, failures, strict=True):
            if failure is None:
                self._run.inventory.completed(full.item)
            elif isinstance(full.item, FeatureSet):
                self._fail([full.item], failure)
            else:
                self._run.ledger.fail("dataset", failure, dataset=full.item.dataset, kind=_KIND)
        for place in {full.item.place for full in unit.sets if isinstance(full.item, FeatureSet)}:
            if all(map(self._run.inventory.has, self._items[place].sets.values())):
                self._run.pairs.arrive(place)

    def _extracted(self, unit: ShardUnit, report: ShardReport) -> Iterator[Event]:
        counts = self._run.ledger.summary.counts
        name = unit.dataset.name
        yield from map(Note, self._unreadable.note(name, unit.split, unit.shard, report.unreadable))
        counts["unreadable"] = self._unreadable.count
        self._pixels[name][unit.split, unit.shard] = report.pixels  # a shard may come twice
        counts["passes"] += unit.n_images * len(
            {outcome.target.model for outcome in report.outcomes if not outcome.failure and not outcome.overflow}
        )
        for taken in report.taken:
            self._trials.note(taken)
        self._stock.note(self._run.datasets[name].samples(unit.split), unit.shard, report.samples)
        for outcome in report.outcomes:
            if outcome.failure:
                self._fail([outcome.target], outcome.failure)
            elif outcome.overflow:
                yield from self._store_as_float32(outcome.target, outcome.overflow)
            elif self._is_current(outcome.target):
                self._stock.note(outcome.target, unit.shard, outcome.part)

    def _store_as_float32(self, target: FeatureSet, why: str) -> Iterator[Event]:
        """Want all features of a model on a dataset as float32, because float16 cannot hold some of them."""
        place = target.place
        if not self._is_wanted(target):  # said once, not for every shard
            return
        self._run.mark_overflow(target, why)
        former = self._items[place]
        item = self._items[place] = replace(former, storage="float32")
        self._add(item)
        waiting = {
            (shard.split, shard.shard)
            for shard in self._queue
            if shard.dataset == target.dataset and item.source in shard.parts
        }
        self._enqueue(
            shard for split in SPLITS for shard in self._shards_of(item, split) if (split, shard.shard) not in waiting
        )
        self._run.pairs.want([pair_of(item)])
        yield Note(
            f"{target.model} on {target.dataset}: {why}. The features are extracted again, and stored as float32."
        )

    def _shards_of(self, item: WantedFeatures, split: str) -> list[MissingShard]:
        """Return the missing shards of one tap, without those of the image table."""
        wanted = self._wanted(item.dataset, split)
        own = {item.source: self._stock.shards(item.sets[split])}
        return missing_shards([replace(wanted, committed=own, committed_samples=set(range(wanted.n_shards)))])

    def _fail_trial(self, trial: Trial, failure: Failure) -> None:
        """Record that no shard of a model can be made. What is stored of it stays as it is."""
        name = trial.model.name
        lacking = [
            item
            for item in self._items.values()
            if item.model.name == name and not all(map(self._run.inventory.has, item.sets.values()))
        ]
        self._fail([item.sets[SPLITS[0]] for item in lacking], failure)
        if not lacking and failure.error == DriftError.__name__:
            self._run.ledger.fail(_STAGE, failure, model=name, kind=_KIND)
        elif not lacking:
            text = f"Whether {name} still gives the features that are stored of it could not be found out: "
            self._run.tell(Note(f"{text}{failure.message}"))

    def _fail_unit(self, unit: ShardUnit, failure: Failure) -> None:
        """Record a shard that failed for all of its models: its dataset is to blame, or its only model is."""
        if len(unit.jobs) == 1 and len(self._run.models) > 1:
            self._fail(unit.targets, failure)
            return
        name = unit.dataset.name
        open_places = [place for place in self._places[name] if place not in self._problems]
        if open_places:  # said once, not for every shard
            for place in open_places:
                self._lose(place, failure)
            self._run.ledger.fail("dataset", failure, dataset=name, kind=_KIND)

    def _fail(self, targets: Collection[FeatureSet], failure: Failure) -> None:
        for target in targets:
            if self._is_wanted(target):  # said once, not for every shard
                key = extraction_key(self._items[target.place], self._settings)
                place: Mapping[str, str] = {"model": target.model, "tap": target.tap, "dataset": target.dataset}
                self._lose(target.place, failure)
                self._run.ledger.fail(_STAGE, failure, **place, key=key, kind=_KIND)

    def _lose(self, place: Place, failure: Failure) -> None:
        self._problems[place] = failure.message
        self._run.pairs.lose(place)

    def _is_wanted(self, target: FeatureSet) -> bool:
        """Whether a set is still to be filled: its features did not fail, and are not stored as another type now."""
        return target.place not in self._problems and self._is_current(target)

    def _is_current(self, target: FeatureSet) -> bool:
        """Whether the features are stored in this set, and not as another type in another one."""
        return self._items[target.place].sets[target.split] == target


def pair_of(item: WantedFeatures) -> Pair:
    """Return the pair of a model and a dataset to which wanted features belong."""
    dataset = item.dataset
    return Pair(
        features=SplitSets.of(item.sets),
        model_key=item.model.key,
        metric=dataset.spec.metric,
        n_classes=len(dataset.classes),
        multilabel=dataset.multilabel,
        class_counts=dataset.class_counts,
        compute=item.model.compute,
        inputs_key=inputs_key(item.model, dataset, item.storage, tap=item.tap),
    )


def extraction_key(item: WantedFeatures, settings: ExtractSettings) -> str:
    """Return the key of an extraction: of the feature sets, and of the settings that decide whether it succeeds."""
    decides = (str(settings.max_relative_error), str(settings.strict), str(settings.model_memory_gb))
    return attempt_key(*(target.key for target in item.sets.values()), *decides)


def _n_images(dataset: Dataset, split: str, shards: Iterable[int]) -> int:
    ranges = [dataset.shard_range(split, shard) for shard in shards]
    return sum(stop - start for start, stop in ranges)


def _shard_done(unit: ShardUnit, report: ShardReport | None, node: str) -> ShardDone:
    """Return the event of a unit that is over. Without a report, all of its models failed."""
    seconds = report.seconds if report else 0.0
    done = ShardDone(unit.dataset.name, unit.split, unit.shard, unit.n_images, seconds, node)
    if report is None:
        return replace(done, failed=tuple(job.model.name for job in unit.jobs) + unit.lost)
    failed = {outcome.target for outcome in report.outcomes if outcome.failure}
    written = {outcome.target for outcome in report.outcomes if not outcome.overflow} - failed
    made, lost = [], list(unit.lost)
    for job in unit.jobs:
        targets, name = [target for target, _ in job.targets], job.model.name
        if failed.issuperset(targets):
            lost.append(name)
        else:
            taps = tuple(target.tap for target in targets if target in written)
            made.append(Made(name, taps, report.network_seconds.get(name, 0.0)))
    return replace(done, models=tuple(made), failed=tuple(lost))
