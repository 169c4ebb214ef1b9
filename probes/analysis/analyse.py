"""Store -> tables: what the stored features themselves say. Mathematics that is no work for SQL, for SQL to ask about.

neighbours        for every test image, the training or validation image that the model finds most like it
representations   spread of the features of the training and validation images, and how far classes lie apart in them
similarities      of every two models, how much alike the features of the same test images are

The formulas are in `probes.analysis.geometry`. A record is named by a hash of all that decides its numbers, so that
what is there is never computed again, and is published whole, so that a run can be stopped at any time.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore import Features, FeatureSet, FeatureStore
from featurestore.errors import Failure
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from featurestore.store.layout import content_key
from featurestore.store.matrices import MatrixCache
from probes.analysis import geometry

CKA_IMAGES = 2000
"""At most so many test images are compared, those with the smallest sample_id: a hash of their content."""

_VERSION = 1  # raised whenever the same features give other numbers
_OF_A_SUBJECT = ("neighbours", "representations")


@dataclass(frozen=True, order=True, kw_only=True)
class Subject:
    """A dataset as a model sees it: features that belong together.

    Attributes
    ----------
    train_key, val_key, test_key : str
        Keys of the feature sets.
    n_classes : int
    """

    dataset: str
    setting: str
    tap: str
    model: str
    train_key: str
    val_key: str
    test_key: str
    n_classes: int

    def sets(self, *splits: str) -> list[FeatureSet]:
        """The feature sets of these splits."""
        keys = {"train": self.train_key, "val": self.val_key, "test": self.test_key}
        return [FeatureSet(self.model, self.dataset, split, keys[split], self.tap) for split in splits]

    def analysis(self, table: str) -> str:
        """Name of its record in a table."""
        return content_key({"table": table, "version": _VERSION, **asdict(self)})

    def grain(self, table: str) -> dict[str, str]:
        """The columns that every row of its record starts with."""
        names = ("dataset", "setting", "tap", "model", "train_key", "val_key", "test_key")
        return {"analysis": self.analysis(table), **{name: getattr(self, name) for name in names}}

    def __str__(self) -> str:
        return f"{self.model} on {self.dataset} ({self.tap})"


@dataclass
class Analysed:
    """What was computed, and what could not be.

    Attributes
    ----------
    measured : int
        Models on datasets whose features were measured.
    compared : int
        Datasets (and taps) on which models were compared with each other.
    failures : list of (str, Failure)
        What failed, in words, and how; the rest went on.
    """

    measured: int = 0
    compared: int = 0
    failures: list[tuple[str, Failure]] = field(default_factory=list)


def analyse(
    store: FeatureStore,
    subjects: Iterable[Subject],
    *,
    device: str = "cpu",
    matrices: MatrixCache | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Analysed:
    """Compute what the tables above lack of these subjects, and commit it record by record.

    Parameters
    ----------
    subjects : iterable of Subject
        Whose features are complete.
    device : str
        ``"cpu"`` or ``"cuda"``.
    matrices : MatrixCache, optional
        Where this node keeps decoded features for all who read them.
    tell : callable
        Is given a line for each piece of work, before it begins.

    Raises
    ------
    StoreError
        If the store cannot be listed.
    """
    run, ordered = _Run(store, device, matrices), sorted(subjects)
    measuring, comparing = list(run.measurements(ordered)), list(run.comparisons(ordered))
    done = Analysed()
    for number, (what, work) in enumerate([*measuring, *comparing], start=1):
        tell(f"[{number}/{len(measuring) + len(comparing)}] {what}")
        try:
            work()
        except Exception as error:  # damaged features, a machine too small for them: the others are none the worse
            done.failures.append((what, Failure.of(error)))
            continue
        if number <= len(measuring):
            done.measured += 1
        else:
            done.compared += 1
    return done


def _pairs_analysis(members: Sequence[Subject]) -> str:
    sets = [[member.dataset, member.setting, member.tap, member.model, member.test_key] for member in members]
    return content_key({"table": "similarities", "version": _VERSION, "n_images": CKA_IMAGES, "sets": sets})


@dataclass(frozen=True)
class _Run:
    """What all the work has in common."""

    store: FeatureStore
    device: str
    matrices: MatrixCache | None

    def measurements(self, subjects: Sequence[Subject]) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is missing of each subject, in words and as work to do."""
        there = {table: self.store.names(table) for table in _OF_A_SUBJECT}
        for subject in subjects:
            missing = [table for table in _OF_A_SUBJECT if subject.analysis(table) not in there[table]]
            if missing:
                yield f"{subject}: nearest training images, spread, classes", partial(self._measure, subject, missing)

    def comparisons(self, subjects: Sequence[Subject]) -> Iterator[tuple[str, Callable[[], None]]]:
        """What is missing of the models that have seen one dataset, in words and as work to do."""
        there = self.store.names("similarities")
        groups = defaultdict(list)
        for subject in subjects:
            groups[subject.dataset, subject.setting, subject.tap].append(subject)
        for (dataset, _, tap), members in groups.items():
            if len(members) > 1 and _pairs_analysis(members) not in there:
                yield f"{len(members)} models on {dataset} ({tap}): likeness", partial(self._compare, members)

    def _measure(self, subject: Subject, tables: Sequence[str]) -> None:
        """Publish the records of one subject in these tables."""
        learned = self._read(subject, "train", "val")
        if "neighbours" in tables:
            n_train = self.store.manifest(*subject.sets("train"))["rows"]
            rows = _neighbours(subject, learned, n_train, self._read(subject, "test"), self.device)
            self.store.publish("neighbours", subject.analysis("neighbours"), rows)
        if "representations" in tables:
            begin = time.perf_counter()
            row = {**subject.grain("representations"), **_representation(learned)}
            row |= {"seconds": time.perf_counter() - begin, "created_at": datetime.now(UTC)}
            self.store.publish("representations", row["analysis"], rows_table("representations", [row]))

    def _compare(self, members: Sequence[Subject]) -> None:
        """Publish how alike the features of every two of these models are."""
        analysis = _pairs_analysis(members)
        by_images: dict[str, list[_Seen]] = defaultdict(list)
        for member in members:
            test = self._read(member, "test")
            chosen = np.sort(np.lexsort((test.index, test.sample_id))[:CKA_IMAGES])
            images = _digest(test.sample_id[chosen], test.index[chosen])
            by_images[images].append(_Seen(member, len(chosen), geometry.centred_gram(test.X[chosen])))
        rows = [row for seen in by_images.values() for row in _similarity_rows(analysis, seen)]
        self.store.publish("similarities", analysis, rows_table("similarities", rows))

    def _read(self, subject: Subject, *splits: str) -> Features:
        return self.store.read(*subject.sets(*splits), n_classes=subject.n_classes, cache=self.matrices)


@dataclass(frozen=True)
class _Seen:
    """Test images as one model sees them."""

    subject: Subject
    n_images: int
    gram: npt.NDArray[np.float32] | None  # as `geometry.centred_gram` gives it


def _neighbours(subject: Subject, learned: Features, n_train: int, test: Features, device: str) -> pa.Table:
    """The rows of one subject, of `learned` images of which the first `n_train` are of the training split."""
    similarity, near = geometry.nearest(test.X, learned.X, device=device)
    same = learned.y[near] == test.y
    own = {
        "sample_id": pa.array(test.sample_id, pa.string()),
        "index": test.index,
        "near_split": pa.array(np.where(near < n_train, "train", "val"), pa.string()),
        "near_sample_id": pa.array(learned.sample_id[near], pa.string()),
        "near_index": learned.index[near],
        "similarity": similarity.astype(np.float64),
        "same_label": same.all(axis=1) if same.ndim == 2 else same,
    }
    everywhere = {**subject.grain("neighbours"), "created_at": datetime.now(UTC)}
    kinds = schema.NEIGHBOURS
    repeated = {
        name: pa.repeat(pa.scalar(value, kinds.field(name).type), len(test.X)) for name, value in everywhere.items()
    }
    return pa.table({**repeated, **own}).select(kinds.names).cast(kinds)


def _representation(learned: Features) -> dict[str, Any]:
    eigenvalues = geometry.spectrum(learned.X)
    row = {
        "n_images": len(learned.X),
        "dim": learned.X.shape[1],
        "effective_rank": geometry.effective_rank(eigenvalues),
        "participation_ratio": geometry.participation_ratio(eigenvalues),
    }
    if learned.y.ndim == 2:
        return row
    classes = geometry.class_geometry(learned.X, learned.y)
    return {**row, "class_separation": classes.separation, "within_between": classes.within_between}


def _similarity_rows(analysis: str, seen: Sequence[_Seen]) -> Iterator[dict[str, Any]]:
    """A row for every two models, which saw the same images."""
    varied = [one for one in seen if one.gram is not None]
    place = {one.subject: i for i, one in enumerate(varied)}
    cka = geometry.cka([one.gram for one in varied if one.gram is not None])
    for one, other in combinations(seen, 2):
        known = one.gram is not None and other.gram is not None
        yield {
            "analysis": analysis,
            **{name: getattr(one.subject, name) for name in ("dataset", "setting", "tap", "model", "test_key")},
            "other": other.subject.model,
            "other_test_key": other.subject.test_key,
            "n_images": one.n_images,
            "cka": float(cka[place[one.subject], place[other.subject]]) if known else None,
            "created_at": datetime.now(UTC),
        }


def _digest(sample_id: npt.NDArray[np.str_], index: npt.NDArray[np.int64]) -> str:
    """Equal for the same images in the same order."""
    return hashlib.sha256("\0".join(sample_id.tolist()).encode() + index.tobytes()).hexdigest()
