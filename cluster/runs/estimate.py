"""What a study wants, what is there and what is missing, in images, shards, cells, bytes and time. Pure.

Time is that of one worker, from what was measured in the same store; where nothing was, it is not known and said so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pyarrow as pa

from cluster.reporting.progress_view import duration


@dataclass(frozen=True, kw_only=True)
class SetStock:
    """What there is of one feature set.

    Attributes
    ----------
    missing_images : int
        In the shards that are not there.
    bytes_per_image : int, optional
        Of the vectors, before compression; None where their width is known only when the network has run.
    """

    model: str
    tap: str
    dataset: str
    split: str
    images: int
    shards: int
    missing_shards: int
    missing_images: int
    bytes_per_image: int | None


@dataclass(frozen=True)
class CellStock:
    """A wanted cell.

    Attributes
    ----------
    few : bool
        Whether it learns from a few images per class.
    """

    model: str
    dataset: str
    probe: str
    few: bool
    done: bool


@dataclass(frozen=True)
class Rates:
    """What was measured in earlier runs; see `rates_of`.

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
        """Of one image through a model, decoding included; measured on other datasets where it was not on this one."""
        rate = self.images.get((model, dataset), self.images.get((model, None)))
        return 1 / rate if rate else None

    def cell_seconds(self, cell: CellStock) -> float | None:
        """Of a cell like this, of any model."""
        return self.cells.get((cell.probe, cell.few, cell.dataset), self.cells.get((cell.probe, cell.few, None)))


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """A model and a dataset: a row of ``probestore plan``.

    Attributes
    ----------
    model, dataset : str, optional
        None for every one: a dataset that cannot be opened is missing to all models.
    images : int
        Of the dataset.
    passes_missing : int
        Images that are still to go through the network.
    bytes_missing : int, optional
        Size of the features that are to be stored, before compression; None if not known.
    worker_seconds : float, optional
        What is missing takes one worker so long; None where nothing was measured.
    problem : str, optional
        Why it cannot be done, or why it will not be tried.
    """

    model: str | None
    dataset: str | None
    images: int = 0
    shards: int = 0
    shards_missing: int = 0
    passes_missing: int = 0
    bytes_missing: int | None = 0
    cells: int = 0
    cells_missing: int = 0
    worker_seconds: float | None = 0.0
    problem: str | None = None


PLAN = pa.schema(
    [
        ("dataset", pa.string()),
        ("model", pa.string()),
        ("images", pa.int64()),
        ("shards", pa.int64()),
        ("shards_missing", pa.int64()),
        ("cells", pa.int64()),
        ("cells_missing", pa.int64()),
        ("bytes_missing", pa.int64()),
        ("worker_seconds", pa.float64()),
        ("problem", pa.string()),
    ]
)
"""Columns of the answer."""

_MISSING = ("shards_missing", "cells_missing")


def pair_plan(
    sets: Sequence[SetStock], cells: Sequence[CellStock], rates: Rates, *, problem: str | None = None
) -> PairPlan:
    """The plan of one model on one dataset.

    Parameters
    ----------
    sets : sequence of SetStock
        Of every tap and split.
    cells : sequence of CellStock
    """
    model, dataset = sets[0].model, sets[0].dataset
    passes = _passes(sets)
    missing = [cell for cell in cells if not cell.done]
    per_image = rates.image_seconds(model, dataset) if passes else 0.0
    times = [per_image * passes if per_image is not None else None, *map(rates.cell_seconds, missing)]
    return PairPlan(
        model=model,
        dataset=dataset,
        images=sum({item.split: item.images for item in sets}.values()),
        shards=sum(item.shards for item in sets),
        shards_missing=sum(item.missing_shards for item in sets),
        passes_missing=passes,
        bytes_missing=_sum(_bytes(item) for item in sets),
        cells=len(cells),
        cells_missing=len(missing),
        worker_seconds=_sum(times),
        problem=problem,
    )


def rates_of(progress: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]) -> Rates:
    """What earlier runs measured.

    Parameters
    ----------
    progress : iterable of mapping
        ``model``, ``dataset`` and ``images_per_second`` of rows of the table `progress`.
    results : iterable of mapping
        ``probe``, ``n_per_class``, ``dataset`` and ``seconds`` of cells.
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


def plan_table(rows: Iterable[PairPlan]) -> pa.Table:
    """The plan as an answer that can be written in any format."""
    return pa.Table.from_pylist([{name: getattr(row, name) for name in PLAN.names} for row in rows], schema=PLAN)


def summary_lines(rows: Sequence[PairPlan]) -> list[str]:
    """The plan in words: amounts, size, time, and what stands in the way."""
    shards, cells = sum(row.shards for row in rows), sum(row.cells for row in rows)
    shards_missing, cells_missing = (sum(getattr(row, name) for row in rows) for name in _MISSING)
    if not shards_missing and not cells_missing:
        lines = [f"Nothing is missing: {shards:,} shards and {cells:,} cells are in the store."]
    else:
        lines = [
            f"Missing: {shards_missing:,} of {shards:,} shards ({sum(row.passes_missing for row in rows):,} images x "
            f"models, {_size(rows)}), {cells_missing:,} of {cells:,} cells.",
            f"Time of one worker: {_time(rows)}.",
        ]
    problems = [row for row in rows if row.problem]
    return [*lines, f"Not possible or not tried: {len(problems)} of {len(rows)} rows."] if problems else lines


def _size(rows: Iterable[PairPlan]) -> str:
    sizes = [row.bytes_missing for row in rows]
    known = sum(size for size in sizes if size is not None)
    return f"{'more than ' if None in sizes else ''}{_bytes_text(known)} before compression"


def _time(rows: Iterable[PairPlan]) -> str:
    open_rows = [row for row in rows if any(getattr(row, name) for name in _MISSING)]
    times = [row.worker_seconds for row in open_rows]
    known = [seconds for seconds in times if seconds is not None]
    if not known:
        return "not known, nothing like it was measured in this store yet"
    unknown = len(times) - len(known)
    rest = f", and what {unknown} of {len(times)} rows take, of which nothing was measured yet" if unknown else ""
    return f"about {duration(sum(known))}{rest}; several workers share it"


def _bytes_text(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _passes(sets: Iterable[SetStock]) -> int:
    """Images that go through the network: once for all taps, of which one may miss more shards than another."""
    missing: defaultdict[str, int] = defaultdict(int)
    for item in sets:
        missing[item.split] = max(missing[item.split], item.missing_images)
    return sum(missing.values())


def _bytes(item: SetStock) -> int | None:
    if not item.missing_images:
        return 0
    return None if item.bytes_per_image is None else item.missing_images * item.bytes_per_image


def _sum(values: Iterable[Any]) -> Any:
    """Sum of what is known; None where something is not."""
    known = list(values)
    return None if None in known else sum(known)
