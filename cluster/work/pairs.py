"""Pairs of a model and a dataset whose features belong together, and the list of those of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from featurestore import SplitSets

Place = tuple[str, str, str]
"""Model, tap and dataset by name: unique in a run."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model and a dataset, with all that work on their features has to know.

    Attributes
    ----------
    features : SplitSets
        Feature sets of the three splits.
    model_key : str
        Hash of the weights and the preprocessing that the model's name stands for.
    metric : str
        Headline metric of the dataset.
    n_classes : int
        Number of classes of the dataset.
    multilabel : bool
        Whether an image can have several labels.
    setting : str
        Setting of the results.
    class_counts : tuple of int, optional
        Number of training images of each class; None if nobody says.
    compute, inputs_key : str, optional
        Precision that the features are computed in, and hash of all else that they come from; None if a study of an
        earlier version wanted them.
    """

    features: SplitSets
    model_key: str
    metric: str
    n_classes: int
    multilabel: bool
    setting: str = "fixed"
    class_counts: tuple[int, ...] | None = None
    compute: str | None = None
    inputs_key: str | None = None

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.features.model

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.features.dataset

    @property
    def tap(self) -> str:
        """Tap at which the features are taken."""
        return self.features.tap

    @property
    def place(self) -> Place:
        """Model, tap and dataset by name: unique in a run."""
        return self.features.place


class Pairs:
    """The pairs of a run.

    Attributes
    ----------
    changes : list of Place
        Places whose pair has changed, in the order of the changes. It only grows, so that a reader who remembers how
        much of it he has read finds the news at its end.
    """

    def __init__(self) -> None:
        self.changes: list[Place] = []
        self._pairs: dict[Place, Pair] = {}
        self._there: set[Place] = set()
        self._lost: set[Place] = set()

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def __getitem__(self, place: Place) -> Pair:
        return self._pairs[place]

    def want(self, pairs: Iterable[Pair]) -> None:
        """Add pairs. A pair replaces the one of the same place, whose features had other keys."""
        for pair in pairs:
            self._pairs[pair.place] = pair
            self.changes.append(pair.place)

    def arrive(self, place: Place) -> None:
        """Note that the features are complete."""
        self._there.add(place)
        self.changes.append(place)

    def lose(self, place: Place) -> None:
        """Note that the features cannot be had in this run."""
        self._lost.add(place)
        self.changes.append(place)

    def is_there(self, place: Place) -> bool:
        """Whether the features are complete."""
        return place in self._there

    def is_lost(self, place: Place) -> bool:
        """Whether the features cannot be had in this run."""
        return place in self._lost
