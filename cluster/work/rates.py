"""The speed of work, as earlier runs in a store have measured it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Rates:
    """Measured rates, which `rates_of` returns.

    Attributes
    ----------
    images : mapping
        (model, dataset) and (model, None), for all datasets -> images per second of one worker.
    cells : mapping
        (probe, few, dataset) and (probe, few, None) -> seconds of one worker.
    """

    images: Mapping[tuple[str, str | None], float] = field(default_factory=dict)
    cells: Mapping[tuple[str, bool, str | None], float] = field(default_factory=dict)

    def image_seconds(self, model: str, dataset: str) -> float | None:
        """Return the seconds of one image through a model, decoding included.

        If they were not measured on this dataset, return the mean of the others; None if they were measured on none.
        """
        rate = self.images.get((model, dataset), self.images.get((model, None)))
        return 1 / rate if rate else None

    def cell_seconds(self, probe: str, few: bool, dataset: str) -> float | None:
        """Return the seconds of a probe on a dataset, of any model; `few` for tasks of a few images per class."""
        return self.cells.get((probe, few, dataset), self.cells.get((probe, few, None)))


def rates_of(progress: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> Rates:
    """Return the mean of the rates that earlier runs measured.

    Parameters
    ----------
    progress : iterable of mapping
        Rows of the table `progress` with ``model``, ``dataset`` and ``images_per_second``.
    results : iterable of mapping
        Cells with ``probe``, ``n_per_class``, ``dataset`` and ``seconds``.
    """
    per_image: defaultdict[tuple[str, str | None], list[float]] = defaultdict(list)
    for row in progress:
        if row["images_per_second"]:
            for dataset in (row["dataset"], None):
                per_image[row["model"], dataset].append(1 / row["images_per_second"])
    seconds: defaultdict[tuple[str, bool, str | None], list[float]] = defaultdict(list)
    for row in results:
        for dataset in (row["dataset"], None):
            seconds[row["probe"], row["n_per_class"] is not None, dataset].append(row["seconds"])
    return Rates(
        {key: 1 / fmean(values) for key, values in per_image.items()},
        {key: fmean(values) for key, values in seconds.items()},
    )
