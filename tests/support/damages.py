"""Damage to one file of a store or of a node's cache, drawn from a seed alone."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featurestore.store.schema import TABLES

WAYS = ("flip", "truncate", "zeros", "swap", "delete")
"""One bit, the end cut off, zeros to the end, another file of the kind in its place and it in that one's, no file."""

_PARTS, _MANIFESTS = "part-*.parquet", "manifest.json"
STORE_KINDS = {
    "features": f"features/**/{_PARTS}",
    "features manifests": f"features/**/{_MANIFESTS}",
    "overflow marks": "features/**/overflow.json",
    "samples": f"samples/**/{_PARTS}",
    "samples manifests": f"samples/**/{_MANIFESTS}",
    **{table: f"{table}/*.parquet" for table in TABLES},
    "packs": "*/packed/*.parquet",
    "imported": "*/imported/*.parquet",
    "types": "_schema/**/*.parquet",
    "store file": "store.json",
    "studies": "studies/*.toml",
}
CACHE_KINDS = {
    "cached features": "features-*/X.npy",
    "cached labels": "features-*/label.npy",
    "cached positions": "features-*/index.npy",
    "cached rows": "features-*/row.npy",
    "cached ids": "features-*/sample_id.npy",
    "cached digests": "features-*/digests.json",
    "gathered records": "records-*.parquet",
    "lists of packs": "packs-*.json",
}
KINDS = {**STORE_KINDS, **CACHE_KINDS}
"""Kind of file -> where they lie, below the store or below the cache."""


@dataclass(frozen=True)
class Damage:
    """What is done to a file.

    Attributes
    ----------
    way : str
        One of `WAYS`.
    file, other : str
        Names below the store or the cache; the other one only where two are swapped.
    at : float
        Place in the file, from 0 to 1. In a Parquet file the footer is from 0.5 on: it is most of a small one.
    bit : int
    dated : bool
        Whether the file looks as if it had been written just now.
    warm : bool
        Whether the node's cache is as the undamaged store left it; else it is empty. That of a cache always is.
    """

    way: str
    file: str
    other: str | None
    at: float
    bit: int
    dated: bool
    warm: bool

    def __str__(self) -> str:
        cache = "warm" if self.warm else "cold"
        others = f" with {self.other}" if self.other else ""
        return f"{self.way} {self.file}{others} at {self.at:.4f}.{self.bit}, {cache}{', dated' if self.dated else ''}"

    @property
    def names(self) -> tuple[str, ...]:
        """What an error must name: the file, or one of two; of a set without a manifest, its folder.

        Of a pack that is gone, a record of its table.
        """
        names = (self.file, self.other) if self.other else (self.file,)
        if "/packed/" in self.file and self.way == "delete":  # nobody knows in which pack a record was
            names = (f"{self.file.split('/')[0]}/",)
        return tuple(name.removesuffix(f"/{_MANIFESTS}") for name in names)


def draw(kind: str, number: int, seed: int, files: Sequence[str]) -> Damage:
    """Draw the damage of a number to one of the files of a kind."""
    rng = random.Random(f"{seed}/{kind}/{number}")
    file, other = (*rng.sample(files, 2),) if len(files) > 1 else (files[0], None)
    way = rng.choice(WAYS if other else [way for way in WAYS if way != "swap"])
    at, bit, dated, warm = rng.random(), rng.randrange(8), rng.random() < 0.5, rng.random() < 0.5
    return Damage(way, file, other if way == "swap" else None, at, bit, dated, warm or kind in CACHE_KINDS)


def apply(damage: Damage, root: Path) -> None:
    """Do it. Files may be hard links: their content is never changed in place."""
    path = root / damage.file
    if damage.way == "delete":
        path.unlink()
    elif damage.other:
        other = root / damage.other
        contents = other.read_bytes(), path.read_bytes()
        for name, content in zip((path, other), contents, strict=True):
            _replace(name, content, dated=damage.dated)
    else:
        _replace(path, _CHANGES[damage.way](path.read_bytes(), damage), dated=damage.dated)


def _replace(path: Path, content: bytes, *, dated: bool) -> None:
    before = path.stat()
    path.unlink()
    path.write_bytes(content)
    if not dated:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _flip(content: bytes, damage: Damage) -> bytes:
    data = bytearray(content)
    if data:
        data[_place(content, damage.at)] ^= 1 << damage.bit
    return bytes(data)


def _truncate(content: bytes, damage: Damage) -> bytes:
    return content[: _place(content, damage.at)]


def _zeros(content: bytes, damage: Damage) -> bytes:
    start = _place(content, damage.at)
    return content[:start] + bytes(len(content) - start)


def _place(content: bytes, at: float) -> int:
    if content[-4:] != b"PAR1":
        return int(at * len(content))
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return int(2 * at * footer) if at < 0.5 else footer + int((2 * at - 1) * (len(content) - footer))


_CHANGES: Mapping[str, Callable[[bytes, Damage], bytes]] = {"flip": _flip, "truncate": _truncate, "zeros": _zeros}
