"""The inventory of a source: everything that it met, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from featurestore.plain_text import counted

Thing = Literal["file", "folder", "row", "column", "class"]
_Fate = tuple[Thing, str | None, str]

MOST_EXAMPLES = 3
"""So many names of things of one fate are shown."""


def images_of(split: str) -> str:
    """Return the use that is made of the images of a split."""
    return f"{split} images"


@dataclass(frozen=True)
class Entry:
    """Things of one kind that had the same fate.

    Attributes
    ----------
    thing : str
        Kind of the things.
    used_as : str, optional
        Use that was made of them, such as ``"train images"``; None if they were left out.
    reason : str
        Why they were left out, or why they were used so; empty where their name says it.
    count : int
        Number of them.
    examples : tuple of str
        Names of the first of them.
    """

    thing: Thing
    used_as: str | None
    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        fate = f"used as {self.used_as}" if self.used_as else "left out"
        why = f": {self.reason}" if self.reason else ""
        many = "classes" if self.thing == "class" else None
        return f"{counted(self.count, self.thing, many)} {fate}{why} ({', '.join(self.examples)}{more})"


class Inventory:
    """A count of everything that a source met, by fate. Every thing is added once, so the numbers add up."""

    def __init__(self) -> None:
        self._counts: dict[_Fate, int] = {}
        self._examples: dict[_Fate, list[str]] = {}
        self._remarks: list[str] = []

    def add(self, thing: Thing, name: str, *, used_as: str | None = None, reason: str = "", count: int = 1) -> None:
        """Note what became of a thing; `count` is for things that have one name in common, such as the rows of a file.

        Parameters
        ----------
        thing : str
            Kind of the thing.
        name : str
            Its name, in a form that can be printed.
        used_as : str, optional
            Use that is made of it, such as `images_of` a split of the source; None if it is left out, for a `reason`
            that is given then.
        reason : str
            Why.
        count : int
            Number of things.
        """
        self._include((thing, used_as, reason), count, [name])

    def add_all(
        self,
        thing: Thing,
        names: Sequence[str],
        *,
        used_as: str | None = None,
        reason: str = "",
        count: int | None = None,
    ) -> None:
        """Note what became of several things; see `add`. Of many, `names` may be the first, and `count` all of them."""
        if names:
            self._include((thing, used_as, reason), len(names) if count is None else count, names)

    def remark(self, text: str) -> None:
        """Add a sentence to the notes that counts nothing anew."""
        self._remarks.append(text)

    def of_dataset(self, use: Mapping[str, str], reasons: Mapping[str, str]) -> Inventory:
        """Return the inventory of a dataset that uses splits of this source.

        Parameters
        ----------
        use : mapping of str to str
            Splits of the source that are used -> splits of the dataset.
        reasons : mapping of str to str
            Splits of the source that are not used -> why.
        """
        fates = {images_of(name): (images_of(split), "") for name, split in use.items()}
        lost = {images_of(name): (None, reason) for name, reason in reasons.items()}
        found = Inventory()
        found._remarks.extend(self._remarks)
        for (thing, used_as, reason), count in self._counts.items():
            now, why = {**fates, **lost}.get(used_as or "", (used_as, ""))
            found._include((thing, now, why or reason), count, self._examples[thing, used_as, reason])
        return found

    def facts(self) -> dict[str, Any]:
        """Return all of it, as JSON can hold it."""
        entries = [[*fate, count, self._examples[fate]] for fate, count in self._counts.items()]
        return {"entries": entries, "remarks": self._remarks}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Inventory:
        """Return the inventory that `facts` were returned by."""
        found = cls()
        for thing, used_as, reason, count, examples in facts["entries"]:
            found._include((thing, used_as, reason), count, examples)
        found._remarks.extend(facts["remarks"])
        return found

    def _include(self, fate: _Fate, count: int, examples: Sequence[str]) -> None:
        self._counts[fate] = self._counts.get(fate, 0) + count
        known = self._examples.setdefault(fate, [])
        known.extend(examples[: MOST_EXAMPLES - len(known)])

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries, what is used first."""
        for thing, used_as, reason in sorted(self._counts, key=lambda fate: (fate[1] is None, fate[0])):
            fate = (thing, used_as, reason)
            yield Entry(thing, used_as, reason, self._counts[fate], tuple(self._examples[fate]))

    def seen(self, thing: Thing) -> int:
        """Return how many things of a kind were met."""
        return sum(count for (kind, _, _), count in self._counts.items() if kind == thing)

    @property
    def remarks(self) -> list[str]:
        """Sentences beside the counts."""
        return list(self._remarks)

    @property
    def notes(self) -> list[str]:
        """What a person has to hear: everything that was left out, or used for a reason that its name does not say."""
        return [*(str(entry) for entry in self if entry.used_as is None or entry.reason), *self._remarks]
