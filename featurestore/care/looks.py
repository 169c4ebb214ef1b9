"""Which files a check reads: all of them, or a share; and a note of those that were read, from which it carries on.

The note is a file of lines. The first names the store and the time; each other one is of a file in which nothing was
wrong, by a digest of its name, size, time of change and of what it was compared with; the last says that the check came
to its end. A line that a kill cut short, or that is damaged, is that of no file: it is read again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from threading import Lock
from typing import Any

from featurestore.care.part_checks import Checked, Made
from featurestore.errors import ConfigurationError
from featurestore.networks.installation import Installation
from featurestore.store.digests import digest
from featurestore.store.storage import StoredFile


@dataclass
class Looks:
    """Decides file by file, and counts.

    Parameters
    ----------
    share : float
        Of the files whose content is read; 1 for all.
    seed : int
        Other seeds take other files.
    notes : Notes, optional
    progress : callable, optional
        Function that is told how many bytes have been read or need not be, and of how many.

    Attributes
    ----------
    n_read, n_left_out, n_known : int
        Number of files that were read; that are not of the share; that are known from notes.
    """

    share: float = 1.0
    seed: int = 0
    notes: Notes | None = None
    progress: Callable[[int, int], None] = lambda done, total: None
    n_read: int = 0
    n_left_out: int = 0
    n_known: int = 0
    _n_bytes: int = 0
    _total: int = 0
    _lock: Lock = field(default_factory=Lock)

    def begin(self, n_bytes: int) -> None:
        """Take note of the size of all files that may be read."""
        self._total = n_bytes

    def takes(self, name: str) -> bool:
        """Return whether a file is of the share."""
        return self.share >= 1 or int(digest(f"{self.seed}/{name}".encode())[:12], 16) < self.share * 16**12

    def at(self, file: StoredFile, look: Callable[[], Checked], *, against: str = "") -> Checked:
        """Return what `look` finds out about a file, if it is to be read and is not known; else that nothing is wrong.

        Parameters
        ----------
        against : str
            What it is compared with: other content there is another look.
        """
        checked, known = self._look(file, look, against)
        with self._lock:
            self.n_read += not known and checked is not None
            self.n_known += known
            self.n_left_out += checked is None
            self._n_bytes += file.size
            self.progress(self._n_bytes, self._total)
        return checked or Checked([])

    def _look(self, file: StoredFile, look: Callable[[], Checked], against: str) -> tuple[Checked | None, bool]:
        if not self.takes(file.name):
            return None, False
        if self.notes is None:
            return look(), False
        key = _key(file, against)
        if (found := self.notes.known.get(key)) is not None:
            return found, True
        checked = look()
        if checked.whole and not checked.findings and file.modified is not None:
            self.notes.add(key, checked)
        return checked, False


def _key(file: StoredFile, against: str) -> str:
    modified = file.modified.isoformat() if file.modified else ""
    return digest("\0".join((file.name, str(file.size), modified, against)).encode())


class Notes:
    """The files that a check that was interrupted has read, in a file of its own. Opened with `open_notes`.

    Attributes
    ----------
    known : dict of str to Checked
        What the lines of an earlier process say.
    begun : datetime
        Time at which the check began.
    """

    def __init__(self, file: TextIOWrapper, begun: datetime, known: dict[str, Checked], made: dict[Made, int]) -> None:
        self.begun = begun
        self.known = known
        self._file = file
        self._made = made
        self._lock = Lock()

    def add(self, key: str, checked: Checked) -> None:
        """Note that nothing is wrong in a file."""
        with self._lock:
            number = self._number(checked.made) if checked.made else None
            self._write([key, checked.kind, number] if checked.kind else [key])

    def end(self) -> None:
        """Note that all was read: whoever opens the file again begins anew."""
        self._write({"ended": datetime.now(UTC).isoformat()})

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _number(self, made: Made) -> int:
        if made not in self._made:
            self._made[made] = len(self._made)
            self._write({"made": [*made.installation, made.fingerprint], "number": self._made[made]})
        return self._made[made]

    def _write(self, line: Any) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()


def open_notes(path: Path, uri: str) -> Notes:
    """Open the notes of a check, which carries on from them unless it has come to its end.

    Raises
    ------
    ConfigurationError
        If the file is none of notes, is of another store, or cannot be written.
    """
    try:
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        begun, known, made = _read(path, uri, lines)
        file = path.open("a" if begun else "w", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"The report {path} cannot be read and written: {error}. Give another file."
        ) from error
    notes = Notes(file, begun or datetime.now(UTC), known, made)
    if begun is None:
        notes._write({"store": uri, "begun": notes.begun.isoformat()})
    elif lines[-1]:
        file.write("\n")  # the last line was cut short
    return notes


def _read(path: Path, uri: str, lines: list[str]) -> tuple[datetime | None, dict[str, Checked], dict[Made, int]]:
    """Return when the check began that has not ended, and what is known of it; None if there is none."""
    if not any(lines):
        return None, {}, {}
    head = _parsed(lines[0])
    if not isinstance(head, dict) or "store" not in head:
        raise ConfigurationError(f"{path} must be a report that probestore verify has begun, or no file. Give another.")
    if head["store"] != uri:
        raise ConfigurationError(
            f"The report {path} must be one of the store {uri}. It is of {head['store']}. Give another file."
        )
    numbers: dict[int, Made] = {}
    known: dict[str, Checked] = {}
    for line in map(_parsed, lines[1:]):
        if isinstance(line, dict) and "ended" in line:
            return None, {}, {}
        if isinstance(line, dict) and "made" in line:
            versions, device, fingerprint = line["made"]
            numbers[line["number"]] = Made(Installation(versions, device), tuple(fingerprint) if fingerprint else None)
        elif isinstance(line, list) and len(line) == 1:
            known[line[0]] = _SOUND
        elif isinstance(line, list) and len(line) == 3 and (line[2] is None or line[2] in numbers):
            known[line[0]] = Checked([], line[1], numbers.get(line[2]))
    return datetime.fromisoformat(head["begun"]), known, {made: number for number, made in numbers.items()}


_SOUND = Checked([])


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
