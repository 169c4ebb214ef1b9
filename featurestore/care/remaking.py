"""Who makes again what is gone from a store: the studies that want it, and the commands that run them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featurestore.errors import StoreError
from featurestore.plain_text import shell_command, shortly
from featurestore.store import kept_texts, layout, schema
from featurestore.store.feature_store import FeatureStore
from featurestore.store.layout import FeatureSet, SampleSet, SplitSets
from featurestore.store.storage import Storage
from featurestore.store.wishes import is_command

_OF_NO_STUDY = ("analyse", "rescore")
"""Commands that keep their progress and failures under their own names."""
_OF_NO_USE_ALONE = ("dropped_cells", "sets")
"""Tables of which a record that is gone is not to be made again by anybody: no answer lacks it."""
_PROBES = "probe+"
"""Start of the names under which the command `probe` wants its cells."""


@dataclass(frozen=True)
class Remaking:
    """What makes again what is gone.

    Attributes
    ----------
    commands : list of str
        In the order in which they are to be run.
    notes : list of str
        Sentences about what no command here can make again.
    """

    commands: list[str]
    notes: list[str]


class Wishes:
    """The cells that the studies of a store want, as far as their records can be read.

    Parameters
    ----------
    store : FeatureStore

    Attributes
    ----------
    rows : list of dict
        Rows of `cells`.
    former : list of dict
        Rows of `dropped_cells`.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self.rows = list(_rows(store, "cells"))
        self.former = list(_rows(store, "dropped_cells"))
        self._imports = {(row["added_to"], row["origin"]): row["command"] for row in _rows(store, "imports")}

    @cached_property
    def _made_by(self) -> dict[str, str]:
        """Study -> path of its file, or the command, that wants its cells."""
        kept = {name: file for name in self._kept if (file := _kept_file(self._store.storage, name))}
        said = {row["study"]: row["study_file"] for row in [*self.former, *self.rows] if row["study_file"]}
        return {**kept, **said}

    @cached_property
    def _kept(self) -> set[str]:
        """Names of the studies whose text the store has."""
        names = self._store.storage.list_files(layout.STUDIES)
        return {name.rpartition("/")[2].removesuffix(".toml") for name in names}

    @cached_property
    def _wanting(self) -> dict[tuple[str, Any], set[str]]:
        """Kind and name of a thing -> studies that want it."""
        found: dict[tuple[str, Any], set[str]] = defaultdict(set)
        for row in self.rows:
            sets = SplitSets.of_cell(row).sets()
            own = [("cell", row["cell"]), ("model", row["model"]), ("dataset", row["dataset"])]
            for thing in (*own, ("model_key", row["model_key"]), *(("set", item) for item in sets)):
                found[thing].add(row["study"])
        return found

    def of(self, file: str) -> set[str]:
        """Return the names of the studies that want a file, or what it is needed for."""
        item = layout.parse_folder(file.rpartition("/")[0])
        table, name = file.split("/")[0], file.rpartition("/")[2].removesuffix(".parquet").removesuffix(".toml")
        if isinstance(item, FeatureSet):
            return self._or_unknown(self._wanting[("set", item)])
        if isinstance(item, SampleSet):
            return self._or_unknown(self._wanting[("dataset", item.dataset)])
        if table == layout.STUDIES or schema.TABLES[table].named_by == "study":
            return {name}
        wanted = self._wanting[(schema.TABLES[table].named_by, name)]
        return wanted if schema.TABLES[table].needed_by in ("cell", "model") else self._or_unknown(wanted)

    def _or_unknown(self, wanted: set[str]) -> set[str]:
        """Return the studies; of what no cell names, those whose text is kept and that have no cell."""
        return wanted or self._kept.difference(row["study"] for row in self.rows)

    def remaking(self, files: Iterable[str]) -> Remaking:
        """Return what makes these files again, which are gone."""
        studies: set[str] = set()
        analyses, imports, unwanted = False, set[tuple[str, str]](), list[str]()
        for file in files:
            table = file.split("/")[0]
            if imported := layout.parse_import(file):
                imports.add(imported)
            elif table in schema.TABLES and schema.TABLES[table].needed_by == "features":
                analyses = True
            elif table == "imports":
                imports.add(("results", file.rpartition("/")[2].removesuffix(".parquet")))
            elif table in _OF_NO_USE_ALONE:
                continue
            elif wanted := self.of(file):
                studies |= wanted
            else:
                unwanted.append(file)
        commands, notes = self._of_studies(studies, analyses=analyses)
        arguments = shell_command(*self._store.storage.arguments())
        again = {f"{command} {arguments}" for one in imports if (command := self._imports.get(one))}
        commands += sorted(again)
        notes += _of_imports(
            self._store.storage, {origin for table, origin in imports if (table, origin) not in self._imports}
        )
        if unwanted:
            notes.append(
                f"No study wants {shortly(unwanted, 3)} any more, so nothing makes them again: answers lack them."
            )
        return Remaking(commands, notes)

    def _of_studies(self, names: Iterable[str], *, analyses: bool) -> tuple[list[str], list[str]]:
        storage = self._store.storage
        runs, later, notes = list[str](), list[str](), list[str]()
        for name in sorted(names):
            file = self._made_by.get(name)
            if file and is_command(file):
                (later if file.startswith("probestore probe ") else runs).append(
                    f"{file} {shell_command(*storage.arguments())}"
                )
            elif file:
                runs.append(storage.command("run", file))
                if not Path(file).is_file():
                    notes.append(f"There is no file {file} on this machine now.{self._text_of(name)}")
            elif name in _OF_NO_STUDY:
                later.append(storage.command(name))
            else:
                notes.append(self._unknown(name))
        if analyses and (command := storage.command("analyse")) not in later:
            later.append(command)
        return [*dict.fromkeys(runs), *later], notes

    def _unknown(self, name: str) -> str:
        """Say what to run for a study whose file nothing names."""
        storage = self._store.storage
        if name.startswith(_PROBES):
            words = [word for probe in name.removeprefix(_PROBES).split("+") for word in ("--probe", probe)]
            return (
                f"The store does not say with which settings {name} was wanted. Run this, with the options that it "
                f"had: {storage.command('probe', *words)}"
            )
        return (
            f"The store does not say where the file of the study {name} is.{self._text_of(name)} Run it: "
            f"{storage.command('run', 'STUDY.toml')}"
        )

    def _text_of(self, name: str) -> str:
        place = self._store.storage.external(layout.study_path(name))
        return f" Its text is kept in {place}." if name in self._kept else ""


def _kept_file(storage: Storage, name: str) -> str | None:
    try:
        return kept_texts.read(name, storage.read_bytes(layout.study_path(name))).file
    except StoreError:  # it is out of reach
        return None


def _rows(store: FeatureStore, table: str) -> Iterator[dict[str, Any]]:
    for name in sorted(store.names(table)):
        try:
            yield from store.read_record(table, name).to_pylist()
        except StoreError:  # it is damaged, or out of reach, which its finding says
            continue


def _of_imports(storage: Storage, origins: Iterable[str]) -> Iterator[str]:
    """Say how to import again what an older version imported, which kept no command."""
    for origin in sorted(origins):
        command = storage.command("import", "results", f"{origin}.csv", "--origin", origin)
        yield (
            f"Import {origin} again, from the same files and with the same options as before (--models, --datasets, "
            f"--rename): {command}"
        )
