"""The rows of a plan, and the plan in words: images, pieces of work, bytes and time. Pure.

Time is that of one worker, from what was measured in the same store; where nothing was, it is not known and said so.
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
        Pieces.
    amount : int
        How much is missing, in `unit`.
    seconds : float or None
        One worker takes so long for it; None where nothing like it was measured.
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
        None for every one: a dataset that cannot be opened is missing to all models.
    images : int
        Of the dataset.
    blocks : mapping of str to Block
        Pieces of work (shards, cells) -> how many of them.
    bytes_missing : int, optional
        Size of the features that are to be stored, before compression; None if not known.
    problem : str, optional
        Why it cannot be done, or why it will not be tried.
    """

    model: str | None
    dataset: str | None
    images: int = 0
    blocks: Mapping[str, Block] = field(default_factory=dict)
    bytes_missing: int | None = 0
    problem: str | None = None

    def block(self, pieces: str) -> Block:
        """Return what there is to do of these pieces of work."""
        return self.blocks.get(pieces, Block())

    @property
    def worker_seconds(self) -> float | None:
        """One worker takes so long for all that is missing; None where some of it was never measured."""
        seconds = [block.seconds for block in self.blocks.values()]
        known = [each for each in seconds if each is not None]
        return sum(known) if len(known) == len(seconds) else None

    @property
    def is_open(self) -> bool:
        """Whether something is missing."""
        return any(block.missing for block in self.blocks.values())


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
    if not any(total.missing for total in totals.values()):
        there = " and ".join(f"{total.wanted:,} {each}" for each, total in totals.items())
        lines = [f"Nothing is missing: {there} are in the store."]
    else:
        missing = ", ".join(_missing(each, total, rows) for each, total in totals.items())
        lines = [f"Missing: {missing}.", f"Time of one worker: {_time(rows)}."]
    problems = [row for row in rows if row.problem]
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
    """Say how much is missing of some pieces; where progress is counted in something else, also in that."""
    text = f"{total.missing:,} of {total.wanted:,} {pieces}"
    return f"{text} ({total.amount:,} {total.unit}, {_size(rows)})" if total.unit not in ("", pieces) else text


def _size(rows: Iterable[PairPlan]) -> str:
    sizes = [row.bytes_missing for row in rows]
    known = sum(size for size in sizes if size is not None)
    if None in sizes and not known:
        return "of a size that is known when the networks have run"
    return f"{'more than ' if None in sizes else ''}{bytes_text(known)} before compression"


def _time(rows: Iterable[PairPlan]) -> str:
    """Say how long one worker takes, and for how much of it nothing is known."""
    known, unknown = 0.0, Counter[str]()
    for row in rows:
        for pieces, block in row.blocks.items():
            known += block.seconds or 0.0
            unknown[pieces] += block.missing if block.seconds is None else 0
    missing = " and ".join(f"{count:,} {pieces}" for pieces, count in unknown.items() if count)
    if not known:
        advice = "; --measure tries a few images" if unknown["shards"] else ""
        return f"not known, nothing like it was measured in this store yet{advice}"
    rest = f", and the time of {missing}, of which nothing was measured yet" if missing else ""
    return f"about {duration(known)}{rest}; several workers share it"
