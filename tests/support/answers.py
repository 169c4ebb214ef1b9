"""Everything that a store says, the arrays of its features and answers of SQL, as texts or errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from featurestore import FeatureStore, SplitSets
from featurestore.store.matrices import MatrixCache
from queries.asking.database import Database

QUESTIONS: Mapping[str, Mapping[str, object]] = {
    "leaderboard": {"probe": "knn", "replicates": 20},
    "tuning_curves": {"probe": "knn"},
    "hardest_images": {"probe": "knn"},
    "feature_summary": {},
    "coverage": {},
    "datasets_used": {},
    "models_used": {},
    "leaks": {"similarity": 0.1, "share": 0.1},
    "representations": {},
    "similarity": {},
    "skipped_images": {},
    "imports": {},
}
TABLES = (
    "results where origin is not null or cell in (select cell from cells)",  # nobody makes again what no study wants
    "tuning",
    "predictions",
    "samples",
    "neighbours",
    "heads",
)


def read_everything(uri: str, pairs: Sequence[SplitSets]) -> dict[str, str | Exception]:
    """Read all features, with and without the node's cache, and ask everything: what is said as text, or errors."""
    return {name: _said(ask) for name, ask in _all(uri, pairs)}


def _said(ask: Callable[[], str]) -> str | Exception:
    try:
        return ask()
    except Exception as error:
        return error


def _all(uri: str, pairs: Sequence[SplitSets]) -> Iterator[tuple[str, Callable[[], str]]]:
    try:
        store = FeatureStore.open(uri)
    except Exception as error:
        yield "open", _raises(error)
        return
    for pair in pairs:
        yield f"arrays of {pair.place}", lambda pair=pair: _arrays(store, pair, None)
        yield f"cached arrays of {pair.place}", lambda pair=pair: _arrays(store, pair, MatrixCache.default())
    try:
        database = Database(store)
    except Exception as error:
        yield "database", _raises(error)
        return
    with database:
        for name, parameters in QUESTIONS.items():
            yield name, lambda name=name, parameters=parameters: _rows(database.query(name, **parameters))
        for table in TABLES:
            yield f"from {table}", lambda table=table: _rows(database.sql(f"from {table}"))


def _raises(error: Exception) -> Callable[[], str]:
    def ask() -> str:
        raise error

    return ask


def _arrays(store: FeatureStore, pair: SplitSets, cache: MatrixCache | None) -> str:
    found = hashlib.sha256()
    for sets in (pair.sets("train", "val"), pair.sets("test")):
        read = store.read(*sets, cache=cache)
        for array in (read.X, read.y, read.index, read.sample_id):
            found.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _rows(answer: pa.Table) -> str:
    """The rows in one order, a line each, without what time decides."""
    kept = answer.select([name for name in answer.column_names if name != "seconds" and not name.endswith("_at")])
    return "\n".join([repr(kept.column_names), *sorted(repr(list(row.values())) for row in kept.to_pylist())])
