"""Check that results rest on the features, predictions and tuning that there are now, not on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from featurestore.care.findings import MEND, RUN_AGAIN, Finding, error
from featurestore.care.remaking import Wishes
from featurestore.errors import StoreError
from featurestore.store import layout
from featurestore.store.evidence import COLUMNS, Evidence
from featurestore.store.feature_store import FeatureStore
from featurestore.store.known_sets import COLUMNS as SET_COLUMNS
from featurestore.store.known_sets import known_sets
from featurestore.store.layout import SplitSets


def check_evidence(
    store: FeatureStore,
    evidence: Evidence,
    pool: Executor,
    *,
    takes: Callable[[str], bool] = lambda name: True,
) -> Iterator[Finding]:
    """Check every result, as a run does. What cannot be read is passed over, because other checks read it too.

    Parameters
    ----------
    store : FeatureStore
    evidence : Evidence
        Of that store.
    pool : Executor
        Results are checked in it, as many at once as it has threads.
    takes : callable
        Function that says of a file of results whether it is checked.
    """
    wishes = Wishes(store)
    sets = {row["cell"]: SplitSets.of_cell(row) for row in (*wishes.former, *wishes.rows)}

    def objection(result: Mapping[str, Any]) -> str | None:
        try:
            return evidence.objection(result, sets.get(result["cell"]))
        except StoreError:
            return None

    results = [row for row in _results(store) if takes(layout.record_path("results", row["cell"]))]
    for result, found in zip(results, pool.map(objection, results), strict=True):
        if found:
            path = layout.record_path("results", result["cell"])
            yield error(path, f"it rests on {found}", f"{MEND}; then {RUN_AGAIN}", remove=[path])
    with suppress(StoreError):
        yield from _other_rows(store, evidence)


def _other_rows(store: FeatureStore, evidence: Evidence) -> Iterator[Finding]:
    """Yield rows of `sets` by which results would be taken to rest on what is there, or not to. Manifests were read.

    Versions that did not have the table replace manifests without it.
    """
    rows = known_sets(store.record_rows("sets", SET_COLUMNS)).complete
    for item, digest in evidence.digests.items():
        if digest and item in rows and rows[item].parts_digest != digest:
            path = layout.record_path("sets", layout.set_id(item, layout.COMPLETE))
            yield error(path, f"it tells of other files than {item.folder} has", MEND, remove=[path])


def _results(store: FeatureStore) -> Iterator[Mapping[str, Any]]:
    """Yield a row of every record of results that can be read."""
    try:
        rows = store.record_rows("results", COLUMNS).to_pylist()
    except StoreError:
        names = [layout.record_name(file.name) for file in store.with_damaged("results")[1]]
        rows = [row for name in names for row in _read(store, name)]
    first = {row["record"]: row for row in reversed(rows)}
    yield from (row for name, row in first.items() if row["cell"] == name)


def _read(store: FeatureStore, name: str) -> list[dict[str, Any]]:
    try:
        return [row | {"record": name} for row in store.read_record("results", name, columns=COLUMNS).to_pylist()]
    except StoreError:
        return []
