"""Trials of damages: what a damaged store says, and says again after what it advised was done.

Everything that opens a store happens in children of a process that has imported all and computed nothing. So an abort
of a library is seen, no thread holds a lock when a child is made, and nothing is remembered from trial to trial.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import io
import os
import pickle
import pkgutil
import shlex
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
import damages
import full_store
from answers import QUESTIONS, read_everything
from damages import CACHE_KINDS, KINDS, Damage

import cluster
import featurestore
import probes
import queries
from cluster.cli import cli
from cluster.commands import run
from featurestore import FeatureStore, ProbestoreError, SplitSets
from featurestore.store import feature_store, record_cache, storage

VERDICTS = ("right", "error", "wrong", "unnamed", "unmended", "traceback", "abort")
"""right: all is said as without the damage. error: what is not said is an error that names the file and a command, and
all is right after that command. The others are faults. wrong: another number. unnamed: an error without the file or
without a command. unmended: another number, or an error, after the command. traceback: an exception that is not one of
ours. abort: the process ended, or was ended after a minute."""

SOUND = ("right", "error")

_SECONDS = 60
_FEW_FILES = 4  # tables of more files are gathered on the node, so that a small store has such


@dataclass(frozen=True)
class Verdict:
    """How a trial ended, and why not well."""

    name: str
    why: str = ""


@dataclass(frozen=True)
class Raised:
    """An exception in a child: whether it is one of ours, and what it says; of others, the traceback."""

    ours: bool
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        if isinstance(error, ProbestoreError):
            return cls(True, str(error))
        return cls(False, "".join(traceback.format_exception(error))[-2000:])


Said = dict[str, "str | Raised"]


class Trials:
    """A store with a file of every kind, and trials of damages to copies of it.

    Parameters
    ----------
    folder : Path
        An empty one. All trials use one place in it, because the node's cache goes by the place of a store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._store, self._cache = folder, folder / "store", folder / "cache"
        os.environ["PROBESTORE_CACHE"] = str(self._cache)
        tempfile.tempdir = str(folder)  # children end without removing what they have there
        _import_all()
        self._pairs, self._right = in_child(_make, folder)
        self._sound = folder / "sound"
        self._sound.mkdir()
        for place in (self._store, self._cache):
            place.rename(self._sound / place.name)
        self._files = {kind: self._files_of(kind) for kind in KINDS}
        assert all(self._files.values()), self._files

    def damage(self, kind: str, number: int, seed: int) -> Damage:
        """Return the damage of a number."""
        return damages.draw(kind, number, seed, self._files[kind])

    def run(self, kind: str, damage: Damage, *, mend: bool = True) -> Verdict:
        """Try a damage. Without `mend` it is enough that errors say what they must, which takes a third of the time."""
        self._restore(kind, damage)
        try:
            return self._tried(damage, mend=mend)
        except ChildDiedError as died:
            return Verdict("abort", str(died))

    def is_wrong_unchecked(self, kind: str, damage: Damage) -> bool:
        """Return whether a damage would change a number, without an error about it, if nothing was checked."""
        self._restore(kind, damage)
        try:
            said = in_child(_ask_unchecked, self._store, self._pairs)
        except ChildDiedError:
            return False
        return any(not isinstance(said[name], Raised) for name in self._others(said))

    def _tried(self, damage: Damage, *, mend: bool) -> Verdict:
        said = in_child(_ask, self._store, self._pairs)
        if isinstance(said, Raised):
            return Verdict("traceback", said.text)
        if said == self._right:
            return Verdict("right")
        if fault := self._fault(said, damage):
            return fault
        if not mend:
            return Verdict("error")
        told = in_child(_follow, self._store, self._folder)
        if isinstance(told, Raised):
            return Verdict("traceback", told.text)
        again = in_child(_ask, self._store, self._pairs)
        if again == self._right:
            return Verdict("error")
        return Verdict("unmended", f"{self._differences(again)}\n{told}")

    def _fault(self, said: Said, damage: Damage) -> Verdict | None:
        """Return what is wrong before anything is mended."""
        errors = {name: answer for name, answer in said.items() if isinstance(answer, Raised)}
        for name, error in errors.items():
            if not error.ours:
                return Verdict("traceback", f"{name}: {error.text}")
        if self._others(said) != list(errors):
            return Verdict("wrong", self._differences(said))
        for name, error in errors.items():
            if not (any(name in error.text for name in damage.names) and "probestore " in error.text):
                return Verdict("unnamed", f"{name}: {error.text}")
        return None

    def _others(self, said: Said) -> list[str]:
        """Return what is not said as without the damage."""
        return [name for name, answer in said.items() if answer != self._right.get(name)]

    def _differences(self, said: Said) -> str:
        """Say what differs, and in which first line."""
        found = []
        for name in self._others(said):
            answer, right = said[name], self._right.get(name, "")
            if isinstance(answer, Raised) or isinstance(right, Raised):
                found.append(f"{name}: {answer}")
            else:
                lines = difflib.ndiff(right.splitlines(), answer.splitlines())
                found.append("\n".join([f"{name}:", *(line for line in lines if not line.startswith(" "))][:4]))
        return "\n".join(found)

    def _files_of(self, kind: str) -> list[str]:
        root = self._sound / ("cache" if kind in CACHE_KINDS else "store")
        return sorted(str(path.relative_to(root)) for path in root.glob(KINDS[kind]))

    def _restore(self, kind: str, damage: Damage) -> None:
        """Make a copy that is damaged."""
        for place in (self._store, self._cache):
            shutil.rmtree(place, ignore_errors=True)
        for place in (self._store, self._cache) if damage.warm else (self._store,):
            shutil.copytree(self._sound / place.name, place, copy_function=os.link)
        damages.apply(damage, self._cache if kind in CACHE_KINDS else self._store)


# ---- what children do ----------------------------------------------------------------------------------------------


def _import_all() -> None:
    """Import what children need, which takes longer than most trials."""
    for package in (featurestore, probes, queries, cluster):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(word in module.name for word in ("dashboard", "top_level", ".ray_", "cuml", "__main__")):
                importlib.import_module(module.name)
    for name in ("timm", "pyarrow.dataset", "encodings.utf_8_sig"):
        importlib.import_module(name)


def _make(folder: Path) -> tuple[list[SplitSets], Said]:
    """Fill a store by commands; return its pairs and all that it says."""
    study, store = folder / "study", folder / "store"
    study.mkdir()
    full_store.write_study(study)
    full_store.write_version(study, [*full_store.PROBES, "logme"])
    first, *_ = commands = full_store.commands(study, store)
    _call(first)
    full_store.write_version(study, full_store.PROBES)
    for command in commands:
        _call(command)
    full_store.pack_some(store)
    pairs = _pairs(FeatureStore.open(str(store)))
    said = _ask(store, pairs)
    assert len(said) > len(QUESTIONS), said
    assert not any(isinstance(answer, Raised) for answer in said.values()), said
    return pairs, said


def _pairs(store: FeatureStore) -> list[SplitSets]:
    names = [field.name for field in dataclasses.fields(SplitSets)]
    return sorted({SplitSets(**{name: row[name] for name in names}) for row in store.read_records("cells")})


def _ask(store: Path, pairs: Sequence[SplitSets]) -> Said:
    record_cache.FEW_FILES = _FEW_FILES
    said = read_everything(str(store), pairs).items()
    return {name: Raised.of(answer) if isinstance(answer, Exception) else answer for name, answer in said}


def _ask_unchecked(store: Path, pairs: Sequence[SplitSets]) -> Said:
    """Ask with the checks of Parquet files and manifests switched off."""
    for module, name in (
        (storage, "is_intact"),
        (record_cache, "is_intact"),
        (feature_store, "is_part"),
        (feature_store, "is_manifest_of"),
    ):
        assert callable(getattr(module, name))
        setattr(module, name, lambda *_: True)
    return _ask(store, pairs)


def _follow(store: Path, folder: Path) -> str:
    """Do what errors advise, and what that advises; return all that was printed."""
    run.show_outcome = lambda *_, **__: None  # half of the time of a run of which little is missing
    told = _call(["verify", "--mend", "--store", str(store)])
    for command in _commands(told, full_store.commands(folder / "study", store)[-1]):
        told += f"\n$ {shlex.join(command)}\n{_call(command)}"
    return told


def _commands(told: str, importing: list[str]) -> Iterator[list[str]]:
    """Yield the commands that a line is, or ends with; for an import, the one that was made, with all its files."""
    for line in told.splitlines():
        before, _, command = line.partition("probestore ")
        if command and (not before.strip() or before.endswith(": ")):
            words = shlex.split(command)
            local = ["--local"] if words[0] in ("run", "analyse", "rescore") else []
            yield importing if words[0] == "import" else [*words, *local]


def _call(arguments: Sequence[str]) -> str:
    """Run a command in this process, and return what it prints. Exceptions that are not ours are raised."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            cli(list(arguments), standalone_mode=False)
        except SystemExit as stop:
            printed.write(f"exit code {stop.code}\n")
        except (ProbestoreError, click.ClickException) as error:
            printed.write(f"Error: {error}\n")
    return printed.getvalue()


# ---- children ------------------------------------------------------------------------------------------------------


class ChildDiedError(Exception):
    """A child did not come to its end: a signal ended it, after a minute at the latest."""


def in_child(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a fork of this process, and return what it returns; `Raised` where it raises.

    Raises
    ------
    ChildDiedError
        If the child does not come to its end.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _be_child(writer, function, arguments)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise ChildDiedError(f"{function.__name__}: {signal.Signals(-code).name if code < 0 else code}")
    return pickle.loads(content)  # noqa: S301 - of our own child


def _be_child(writer: int, function: Callable[..., Any], arguments: Sequence[object]) -> NoReturn:
    """Answer and end, without what a process does at its end. What libraries print is not seen."""
    signal.alarm(_SECONDS)
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[os.getpid() % len(cpus)]})  # threads would only take time from one another
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        answer = function(*arguments)
    except BaseException as error:
        answer = Raised.of(error)
    with os.fdopen(writer, "wb") as pipe:
        pickle.dump(answer, pipe)
    os._exit(0)
