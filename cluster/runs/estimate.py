"""The rows of a plan, and the plan in words: images, pieces of work, bytes and time. Pure.

Time is that of one worker, from rates that were measured in the same store. Without such rates, the plan says that the
time is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from featurestore.plain_text import bytes_text, duration

_ALWAYS = ("shards", "cells")  # columns of every plan, whatever is wanted


class Block(NamedTuple):
    """One kind of work on a model and a dataset.

    Attributes
    ----------
    wanted, missing : int
        Number of pieces that are wanted, and that are missing.
    amount : int
        Amount of work that is missing, in `unit`.
    seconds : float or None
        Time that one worker takes for what is missing; None if nothing like it was measured.
    """

    wanted: int = 0
    missing: int = 0
    amount: int = 0
    unit: str = ""
    seconds: float | None = 0.0


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """A model and a dataset: a row of ``probestore plan``.

    Attributes
    ----------
    model, dataset : str, optional
        Names; None stands for all. A dataset that cannot be opened is missing to all models.
    images : int
        Number of images of the dataset.
    blocks : mapping of str to Block
        Pieces of work (shards, cells) -> their numbers.
    bytes_missing : int, optional
        Size of the features that are to be stored, before compression; None if it is not known.
    problem : str, optional
        Reason why some of it cannot be done, or will not be tried.
    """

    model: str | None
    dataset: str | None
    images: int = 0
    blocks: Mapping[str, Block] = field(default_factory=dict)
    bytes_missing: int | None = 0
    problem: str | None = None

    def block(self, pieces: str) -> Block:
        """Return the numbers of these pieces of work."""
        return self.blocks.get(pieces, Block())

    @property
    def worker_seconds(self) -> float | None:
        """Time that one worker takes for all that is missing; None if something like it was never measured."""
        seconds = [block.seconds for block in self.blocks.values()]
        known = [each for each in seconds if each is not None]
        return sum(known) if len(known) == len(seconds) else None


def plan_table(rows: Sequence[PairPlan]) -> pa.Table:
    """Return the plan as an answer that can be written in any format."""
    pieces = _pieces(rows)
    counts = [(name, pa.int64()) for each in pieces for name in (each, f"{each}_missing")]
    schema = pa.schema(
        [
            ("dataset", pa.string()),
            ("model", pa.string()),
            ("images", pa.int64()),
            *counts,
            ("bytes_missing", pa.int64()),
            ("worker_seconds", pa.float64()),
            ("problem", pa.string()),
        ]
    )
    return pa.Table.from_pylist([_record(row, pieces) for row in rows], schema=schema)


def summary_lines(rows: Sequence[PairPlan]) -> list[str]:
    """Say the plan in words: amounts, size, time, and what stands in the way."""
    totals = {each: _total(row.block(each) for row in rows) for each in _pieces(rows)}
    problems = [row for row in rows if row.problem]
    if not any(row.model and row.dataset for row in rows):
        lines = ["Nothing can be computed: no model or no dataset can be used."]
    elif not any(total.missing for total in totals.values()):
        there = " and ".join(f"{total.wanted:,} {each}" for each, total in totals.items())
        nothing = "Nothing that can be computed is missing" if problems else "Nothing is missing"
        lines = [f"{nothing}: {there} are in the store."]
    else:
        missing = ", ".join(_missing(each, total, rows) for each, total in totals.items())
        lines = [f"Missing: {missing}.", f"Time of one worker: {_time(rows)}."]
    return [*lines, f"Not possible or not tried: {len(problems)} of {len(rows)} rows."] if problems else lines


def _pieces(rows: Iterable[PairPlan]) -> list[str]:
    return list(dict.fromkeys((*_ALWAYS, *(each for row in rows for each in row.blocks))))


def _record(row: PairPlan, pieces: Iterable[str]) -> dict[str, Any]:
    names = ("dataset", "model", "images", "bytes_missing", "worker_seconds", "problem")
    counts = {each: row.block(each).wanted for each in pieces}
    missing = {f"{each}_missing": row.block(each).missing for each in pieces}
    return {name: getattr(row, name) for name in names} | counts | missing


def _total(blocks: Iterable[Block]) -> Block:
    found = list(blocks)
    unit = next((block.unit for block in found if block.unit), "")
    return Block(sum(b.wanted for b in found), sum(b.missing for b in found), sum(b.amount for b in found), unit)


def _missing(pieces: str, total: Block, rows: Iterable[PairPlan]) -> str:
    """Say how many pieces are missing, and the amount of work where that is counted in another unit."""
    text = f"{total.missing:,} of {total.wanted:,} {pieces}"
    return f"{text} ({total.amount:,} {total.unit}, {_size(rows)})" if total.unit not in ("", pieces) else text


def _size(rows: Iterable[PairPlan]) -> str:
    sizes = [row.bytes_missing for row in rows]
    known = sum(size for size in sizes if size is not None)
    if None in sizes and not known:
        return "of a size that is known when the networks have run"
    return f"{'more than ' if None in sizes else ''}{bytes_text(known)} before compression"


def _time(rows: Iterable[PairPlan]) -> str:
    """Say how long one worker takes, and of how many pieces the time is not known."""
    known, unknown = 0.0, Counter[str]()
    for row in rows:
        for pieces, block in row.blocks.items():
            known += block.seconds or 0.0
            unknown[pieces] += block.missing if block.seconds is None else 0
    missing = " and ".join(f"{count:,} {pieces}" for pieces, count in unknown.items() if count)
    if not known:
        advice = "; --measure tries a few images" if unknown["shards"] else ""
        return f"not known, because nothing like it was measured in this store yet{advice}"
    rest = f", and the time of {missing} that is not known yet" if missing else ""
    return f"about {duration(known)}{rest}; several workers share it"
