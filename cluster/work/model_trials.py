"""Trials of networks: before shards of a model go out, one worker says what its network gives for the trial images.

What it gives is kept in the table `fingerprints`, and every worker that loads the network compares with it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

from cluster.pool.units import Divided, Hands, Subject, suspected_whole
from cluster.reporting.events import Note
from cluster.work.contract import Run
from featurestore.errors import DriftError, Failure, StoreError
from featurestore.networks import user_modules
from featurestore.networks.fingerprint import BOUND
from featurestore.networks.identity import Model
from featurestore.networks.installation import Installation, described, differing, public, versions
from featurestore.networks.references import Reference, References, Taken, compare
from featurestore.plain_text import counted, shortly
from featurestore.store.feature_store import made_known, rows_table
from featurestore.store.layout import FeatureSet

_TABLE = "fingerprints"
_SETTLING = timedelta(hours=1)
"""So long a row binds before features of its model are stored: the first shard of another run takes its time."""

_MOST_ASKED = 3  # complete sets of a model at a tap, for what they say of their making

Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One model, which is loaded once before its shards go out.

    Attributes
    ----------
    python_path : str
        Folder in which modules of ``python:`` models are looked for.
    taps : tuple of str
        Taps that are wanted of it.
    references : References
        What it must give.
    """

    python_path: str
    model: Model
    taps: tuple[str, ...]
    references: References

    amount: ClassVar[int] = 0

    def run(self, hands: Hands) -> Taken:
        """Load the network, and put the trial images through it."""
        from featurestore.extraction.extract import try_out
        from featurestore.networks.extractor import Extractors

        user_modules.look_in(self.python_path)
        extractors = hands.held("extractors", lambda: Extractors(hands.device, node=hands.node))
        return try_out(self.model, self.taps, extractors, self.references)

    def split_up(self) -> Sequence[Trial]:
        """Return the trial itself: it has no parts."""
        return [self]

    @property
    def subjects(self) -> list[Subject]:
        """The model."""
        return [Subject("model", self.model.name)]

    def divided(self, outcome: Taken | Failure) -> Divided:
        """Lay a failure to the model, if it is not the node's."""
        if isinstance(outcome, Failure):
            return suspected_whole(self, outcome, *self.subjects)
        return (self, outcome), []

    def __str__(self) -> str:
        return f"trial of {self.model.name}"


class ModelTrials:
    """What a store knows of the fingerprints of the models of a run, and which of them need a trial.

    Parameters
    ----------
    run : Run
        Its store is read once. What was recorded of a model counts while features of it are stored, and an hour before.

    Attributes
    ----------
    running : set of str
        Models whose trial is on a worker.
    """

    def __init__(self, run: Run) -> None:
        self.running: set[str] = set()
        self._store = run.store
        self._models = run.models
        self._accept = run.accept_drift
        self._tell = run.tell
        self._begun = datetime.now(UTC)
        self._of_stored = run.inventory.models_with_features(run.models)
        known = run.store.record_tables(_TABLE) if run.store else {}
        self._rows: dict[str, list[Row]] = {
            name: self._binding(known[model.key].to_pylist(), name) if model.key in known else []
            for name, model in run.models.items()
        }
        self._new: dict[str, list[Row]] = {}
        self._lost: set[str] = set()  # models whose rows are in no record
        self._to_do: dict[str, tuple[str, ...]] = {}
        self._equal: dict[tuple[str, str], set[str]] = {}

    def recall(self, sets: Iterable[FeatureSet]) -> None:
        """Take what complete sets say of their making for references of models whose record is gone.

        Parameters
        ----------
        sets : iterable of FeatureSet
            Complete sets of models that have shards to make.
        """
        asked: Counter[tuple[str, str]] = Counter()
        for item in sets:
            rows, place = self._rows[item.model], (item.model, item.tap)
            if self._store is None or asked[place] == _MOST_ASKED or any(row["tap"] == item.tap for row in rows):
                continue
            asked[place] += 1
            with suppress(StoreError):  # whoever reads the set is told
                rows += map(partial(self._recalled, item), made_known(self._store.manifest(item)))
                self._lost.add(item.model)

    def _recalled(self, item: FeatureSet, made: Mapping[str, Any]) -> Row:
        return {
            **{"model": item.model, "model_key": self._models[item.model].key, "tap": item.tap},
            **{"fingerprint": made["fingerprint"], "versions": json.dumps(made["versions"]), "device": made["device"]},
            **{"node": "a node of before", "accepted": False, "recorded_at": self._begun, "asked_by": None},
        }

    def _binding(self, rows: Iterable[Row], name: str) -> list[Row]:
        """Return the rows of a record that a model of this name must agree with."""
        since = self._begun - _SETTLING
        return [row for row in _own(rows, name) if name in self._of_stored or row["recorded_at"] >= since]

    def want(self, taps: Mapping[str, Collection[str]]) -> None:
        """Say which models have shards to make, and at which taps.

        A model needs a trial if one of these taps has no reference. If an installation like this one was never
        compared, every model that has a reference needs one: so an upgrade is noticed even if nothing is missing.
        """
        for name, rows in self._rows.items():
            wanted, known = taps.get(name, ()), {row["tap"] for row in rows}
            if not known.issuperset(wanted) or _other_libraries(rows):
                self._to_do[name] = tuple(sorted(known.union(wanted)))

    def notes(self, begun: Collection[str]) -> Iterator[str]:
        """Return sentences about the trials that are to be made; of the models in `begun`, features are stored."""
        if upgraded := [name for name in self._to_do if _other_libraries(self._rows[name])]:
            yield (
                f"To compare: {counted(len(upgraded), 'model')} ({shortly(upgraded)}) whose stored features were made "
                f"with other libraries than {_libraries_here(self._rows[upgraded[0]])}."
            )
        if unknown := [name for name in self._to_do if name in begun and not self._rows[name]]:
            yield (
                f"An earlier version extracted the stored features of {counted(len(unknown), 'model')} "
                f"({shortly(unknown)}), without a fingerprint of the network. Whether the libraries of today give the "
                "same cannot be compared; from now on it is."
            )

    def next(self, models: Collection[str] | None = None) -> str | None:
        """Return a model that needs a trial: of these, or of all; None if there is none."""
        return next((name for name in (self._to_do if models is None else models) if name in self._to_do), None)

    def begin(self, name: str, python_path: str) -> Trial:
        """Return the trial of a model, and note that it runs."""
        self.running.add(name)
        return Trial(python_path, self._models[name], self._to_do.pop(name), self.references(name))

    def references(self, name: str) -> References:
        """Return what workers are to compare a model with."""
        rows = self._rows[name]
        known = frozenset(Installation(row["versions"], row["device"]) for row in rows)
        return References(tuple(map(_reference, _anchors(rows))), known, self._accept)

    def over(self, trial: Trial, taken: Taken | Failure) -> Failure | None:
        """Take note of the end of a trial. Return its failure, if there is one.

        What another run has recorded meanwhile is compared with, too.
        """
        name = trial.model.name
        self.running.discard(name)
        if isinstance(taken, Failure):
            return taken
        own = self._rows[name]
        others = self._binding(self._stored(trial.model.key), name)
        self._rows[name] = own + [row for row in others if row not in own]
        try:
            found = compare(trial.model, taken, self.references(name))
        except DriftError as error:
            return Failure.of(error)
        self.note(found.taken)
        return None

    def note(self, taken: Taken) -> None:
        """Record what an installation gave, where it is not known yet."""
        rows = self._rows[taken.model]
        new = [row for tap in taken.fingerprints if (row := self._row(taken, tap)) is not None]
        if not new and taken.model not in self._lost:
            return
        self._lost.discard(taken.model)
        for row in new:
            if row["accepted"]:
                said = taken.drift[row["tap"]]
                self._tell(Note(f"{said} It is accepted (--accept-drift): from now on, both count as {taken.model}."))
        if new and not rows and _other_libraries(new):
            self._tell(Note(_first_elsewhere(taken, new)))
        if new and rows and not taken.drift:
            self._equal.setdefault(_compared(taken.installation, rows[0]), set()).add(taken.model)
        rows += new
        self._new.setdefault(taken.model, []).extend(new)
        if self._store:
            kept = [row for row in self._stored(taken.model_key) if row["model"] != taken.model]
            self._store.publish(_TABLE, taken.model_key, rows_table(_TABLE, kept + rows))

    def end(self, failed: Collection[str]) -> None:
        """Say which installations were compared, and gave the same.

        Parameters
        ----------
        failed : collection of str
            Models that failed. What was recorded of one binds nobody if no features of it were stored.
        """
        for name in self._new.keys() & (set(failed) - self._of_stored):
            self._forget(name)
        for (here, there), models in self._equal.items():
            self._tell(
                Note(
                    f"{counted(len(models), 'model')} ({shortly(sorted(models))}) {_GIVE[len(models) == 1]} the same "
                    f"features for the trial images with {here} as with {there}."
                )
            )

    def _forget(self, name: str) -> None:
        if self._store is None or self._store.storage.list_files(f"features/model={name}"):
            return
        key = self._models[name].key
        others = [row for row in self._stored(key) if row not in self._new[name]]
        if others:
            self._store.publish(_TABLE, key, rows_table(_TABLE, others))
        else:
            self._store.delete_records(_TABLE, [key])

    def _row(self, taken: Taken, tap: str) -> Row | None:
        """Return the row of the table that a tap adds; None if it adds nothing."""
        rows = [row for row in self._rows[taken.model] if row["tap"] == tap]
        own = taken.fingerprints[tap]
        compute = self._models[taken.model].compute
        nearest = References(tuple(map(_reference, _anchors(rows)))).nearest(tap, own, compute)
        drifts = nearest is not None and nearest[1] > BOUND[compute]
        here = json.dumps(versions())
        known = [row for row in rows if (row["versions"], row["device"]) == taken.installation]
        if not drifts and any(here in (row["versions"], row["asked_by"]) for row in known):
            return None
        return {
            **{"model": taken.model, "model_key": taken.model_key, "tap": tap, "fingerprint": list(own)},
            **{"versions": taken.installation.versions, "device": taken.installation.device, "node": taken.node},
            **{"accepted": drifts, "recorded_at": datetime.now(UTC), "asked_by": here},
        }

    def _stored(self, key: str) -> list[Row]:
        """Read the rows of a record, which other runs may have changed; none if there is no record."""
        if self._store is None or not self._store.has_record(_TABLE, key):
            return []
        rows: list[Row] = self._store.read_record(_TABLE, key).to_pylist()
        return rows


_GIVE = {True: "gives", False: "give"}


def _own(rows: Iterable[Row], name: str) -> list[Row]:
    """Return the rows of a record that are of a model of this name, the earliest first: others may have its key."""
    return sorted((row for row in rows if row["model"] == name), key=lambda row: row["recorded_at"])


def _anchors(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that count as references: the first of each tap, and those that were accepted."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["tap"], row)
    return [*first.values(), *(row for row in rows if row["accepted"] and row is not first[row["tap"]])]


def _reference(row: Row) -> Reference:
    return Reference(row["tap"], tuple(row["fingerprint"]), Installation(row["versions"], row["device"]), row["node"])


def _other_libraries(rows: Iterable[Row]) -> bool:
    """Return whether no row is of the libraries of this machine, or was asked for by a machine that had these.

    It may lack the devices of the workers.
    """
    texts = [text for row in rows for text in (row["versions"], row["asked_by"]) if text]
    return bool(texts) and public(json.dumps(versions())) not in map(public, texts)


def _libraries_here(rows: Sequence[Row]) -> str:
    return differing(json.dumps(versions()), rows[-1]["versions"])[0]


def _first_elsewhere(taken: Taken, rows: Sequence[Row]) -> str:
    """Say that what a model gives is settled by libraries that are not those of the machine that started the run."""
    there, here = differing(taken.installation.versions, json.dumps(versions()))[0], _libraries_here(rows)
    return (
        f"What {taken.model} gives is settled by {taken.node}, which has {there}; the machine that started the run has "
        f"{here}. All nodes must give the same."
    )


def _compared(installation: Installation, row: Row) -> tuple[str, str]:
    """Name what differs between an installation and that of a row."""
    return described(installation, Installation(row["versions"], row["device"]))
