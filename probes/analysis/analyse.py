"""Store -> tables of measures of the stored features. SQL then asks about these tables.

neighbours        for every test image, the training or validation image that is most similar to it for the model
representations   the spread of the features of training and validation images, and how far classes are apart in them
similarities      for every two models, the similarity of their features of the same test images

The formulas are in `probes.analysis.geometry`. The name of a record is a hash of everything that can change its
numbers, so that no record is computed twice. A record is published whole, so that a run can be stopped at any time.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore import Features, FeatureStore, SplitSets
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from featurestore.store.layout import content_key, key_fields
from featurestore.store.matrices import MatrixCache
from probes.analysis import geometry

CKA_IMAGES = 2000
"""A comparison uses at most so many test images: those with the smallest sample_id, a hash of their content."""

_VERSION = 1  # raise it whenever the same features give other numbers

OF_A_SUBJECT = ("neighbours", "representations")
"""Tables that have a record for each subject."""
OF_A_DATASET = ("similarities",)
"""Tables that have a record for each dataset, setting and tap."""


@dataclass(frozen=True, order=True, kw_only=True)
class Subject:
    """The features of one dataset by one model.

    Attributes
    ----------
    features : SplitSets
        The feature sets of its splits.
    setting : str
        The setting of the model's weights, such as "fixed".
    n_classes : int
    """

    features: SplitSets
    setting: str
    n_classes: int

    def analysis(self, table: str) -> str:
        """Return the name of the record of this subject in a table."""
        own = key_fields(self, without=("features",))
        return content_key({"table": table, "version": _VERSION, **key_fields(self.features), **own})

    def grain(self, table: str) -> dict[str, str]:
        """Return the first columns of every row of the record of this subject."""
        return {"analysis": self.analysis(table), "setting": self.setting, **asdict(self.features)}

    def __str__(self) -> str:
        return f"{self.features.model} on {self.features.dataset} ({self.features.tap})"


@dataclass(frozen=True)
class Measurement:
    """The measures of one subject that a store lacks.

    Attributes
    ----------
    subject : Subject
    tables : tuple of str
        Tables whose record is to be computed, of `OF_A_SUBJECT`.
    """

    subject: Subject
    tables: tuple[str, ...] = OF_A_SUBJECT

    def missing(self, there: Mapping[str, Collection[str]]) -> Measurement | None:
        """Return a measurement of the tables that lack a record; None if no table does.

        Parameters
        ----------
        there : mapping of str to collection of str
            Table -> names of its records.
        """
        tables = tuple(table for table in self.tables if self.subject.analysis(table) not in there[table])
        return replace(self, tables=tables) if tables else None

    def compute(self, store: FeatureStore, *, device: str = "cpu", matrices: MatrixCache | None = None) -> None:
        """Compute and publish the records of the subject in `tables`."""
        learned = _read(store, self.subject, "train", "val", matrices=matrices)
        if "neighbours" in self.tables:
            n_train = store.manifest(self.subject.features.set("train"))["rows"]
            test = _read(store, self.subject, "test", matrices=matrices)
            rows = _neighbours(self.subject, learned, n_train, test, device)
            store.publish("neighbours", self.subject.analysis("neighbours"), rows)
        if "representations" in self.tables:
            begin = time.perf_counter()
            row = {**self.subject.grain("representations"), **_representation(learned)}
            row |= {"seconds": time.perf_counter() - begin, "created_at": datetime.now(UTC)}
            store.publish("representations", row["analysis"], rows_table("representations", [row]))

    def __str__(self) -> str:
        return f"{self.subject}: nearest training images, spread, classes"


@dataclass(frozen=True)
class Comparison:
    """The similarity of the features of every two models on one dataset.

    Attributes
    ----------
    members : tuple of Subject
        One for each model, sorted; all of one dataset, setting and tap.
    """

    members: tuple[Subject, ...]

    @property
    def analysis(self) -> str:
        """Return the name of the record of this comparison in the table ``similarities``."""
        sets = [
            [one.features.dataset, one.setting, one.features.tap, one.features.model, one.features.test_key]
            for one in self.members
        ]
        return content_key({"table": "similarities", "version": _VERSION, "n_images": CKA_IMAGES, "sets": sets})

    def missing(self, there: Mapping[str, Collection[str]]) -> Comparison | None:
        """Return this comparison if it has two models or more and the table lacks its record; else None.

        Parameters
        ----------
        there : mapping of str to collection of str
            Table -> names of its records.
        """
        return self if len(self.members) > 1 and self.analysis not in there["similarities"] else None

    def compute(self, store: FeatureStore, *, device: str = "cpu", matrices: MatrixCache | None = None) -> None:
        """Compute and publish the similarities of every two models. It runs on the CPU, whatever the `device`."""
        by_images: dict[str, list[_Seen]] = defaultdict(list)
        for member in self.members:
            test = _read(store, member, "test", matrices=matrices)
            chosen = np.sort(np.lexsort((test.index, test.sample_id))[:CKA_IMAGES])
            images = _digest(test.sample_id[chosen], test.index[chosen])
            by_images[images].append(_Seen(member, len(chosen), geometry.centred_gram(test.X[chosen])))
        rows = [row for seen in by_images.values() for row in _similarity_rows(self.analysis, seen)]
        store.publish("similarities", self.analysis, rows_table("similarities", rows))

    def __str__(self) -> str:
        first = self.members[0].features
        return f"{len(self.members)} models on {first.dataset} ({first.tap}): likeness"


def comparisons(subjects: Iterable[Subject]) -> list[Comparison]:
    """Return one comparison for each dataset, setting and tap, of all models that have features of it."""
    groups: dict[tuple[str, str, str], list[Subject]] = defaultdict(list)
    for subject in sorted(subjects):
        groups[subject.features.dataset, subject.setting, subject.features.tap].append(subject)
    return [Comparison(tuple(members)) for members in groups.values()]


def _read(store: FeatureStore, subject: Subject, *splits: str, matrices: MatrixCache | None) -> Features:
    return store.read(*subject.features.sets(*splits), n_classes=subject.n_classes, cache=matrices)


@dataclass(frozen=True)
class _Seen:
    """The test images of a comparison, by one model."""

    subject: Subject
    n_images: int
    gram: npt.NDArray[np.float32] | None  # the result of `geometry.centred_gram`


def _neighbours(subject: Subject, learned: Features, n_train: int, test: Features, device: str) -> pa.Table:
    """Make the rows of one subject. The first `n_train` of the `learned` images are of the training split."""
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
    """Yield a row for every two models. All models have features of the same images."""
    varied = [one for one in seen if one.gram is not None]
    place = {one.subject: i for i, one in enumerate(varied)}
    cka = geometry.cka([one.gram for one in varied if one.gram is not None])
    for one, other in combinations(seen, 2):
        known = one.gram is not None and other.gram is not None
        yield {
            "analysis": analysis,
            "setting": one.subject.setting,
            **{name: getattr(one.subject.features, name) for name in ("dataset", "tap", "model", "test_key")},
            "other": other.subject.features.model,
            "other_test_key": other.subject.features.test_key,
            "n_images": one.n_images,
            "cka": float(cka[place[one.subject], place[other.subject]]) if known else None,
            "created_at": datetime.now(UTC),
        }


def _digest(sample_id: npt.NDArray[np.str_], index: npt.NDArray[np.int64]) -> str:
    """Return a hash of these images and of their order."""
    return hashlib.sha256("\0".join(sample_id.tolist()).encode() + index.tobytes()).hexdigest()
