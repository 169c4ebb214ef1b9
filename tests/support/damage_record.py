"""How trials of damages ended, kept in a file, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from damage_trials import SOUND, VERDICTS, Verdict
from damages import Damage
from locations import ROOT

from featurestore.written_whole import written_whole

_PACKAGES = ("featurestore", "probes", "queries", "cluster")
_OTHERS = ("pyarrow", "duckdb", "numpy", "torch")
_LONGEST = 400  # characters of what is kept of a fault


@dataclass
class Record:
    """Counts of verdicts by kind of file and way of damage, and the faults.

    Parameters
    ----------
    path : Path, optional
        File that it is kept in.
    settings : dict
        What the verdicts depend on.
    done : dict of str to int
        Kind of file -> number of its first trial that was not run.
    """

    path: Path | None
    settings: dict[str, Any]
    done: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path | None, seed: int) -> Record:
        """Return the record in a file; an empty one if there is none, or it is of another seed, code or version."""
        settings = {"seed": seed, "code": _digest_of_code(), "versions": _versions()}
        kept = json.loads(path.read_text()) if path and path.exists() else {}
        if kept.pop("settings", None) != settings:
            return cls(path, settings)
        return cls(path, settings, kept["done"], kept["verdicts"], kept["faults"])

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    def note(self, kind: str, number: int, damage: Damage, verdict: Verdict) -> None:
        """Note how a trial ended."""
        of_way = self.verdicts.setdefault(kind, {}).setdefault(damage.way, {})
        of_way[verdict.name] = of_way.get(verdict.name, 0) + 1
        self.done[kind] = number + 1
        if verdict.name not in SOUND:
            fault = {"kind": kind, "number": number, "damage": str(damage), "verdict": verdict.name}
            self.faults.append({**fault, "why": verdict.why[:_LONGEST]})

    def save(self) -> None:
        """Write the file whole."""
        if self.path:
            content = {name: getattr(self, name) for name in ("settings", "done", "verdicts", "faults")}
            with written_whole(self.path) as staged:
                staged.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def table(self) -> str:
        """Return the counts as text: a row for each kind of file, and their sum."""
        sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(VERDICTS, 0))
        for kind, ways in self.verdicts.items():
            for counts in ways.values():
                for name, count in counts.items():
                    sums[kind][name] += count
                    sums["all"][name] += count
        rows = [[kind, str(sum(counts.values())), *map(str, counts.values())] for kind, counts in sums.items()]
        lines = [["kind", "trials", *VERDICTS], *sorted(rows, key=lambda row: row[0] == "all")]
        return "\n".join(f"{line[0]:<20}" + "".join(f"{text:>11}" for text in line[1:]) for line in lines)


def _digest_of_code() -> str:
    """Return a digest of all that the packages do."""
    found = hashlib.sha256()
    files = (path for package in _PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".sql"))
    for path in sorted(files):
        found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _OTHERS}}
