"""Rows of the table `sets`, from which a run learns what is complete without listing any shard.

The table is an index and no truth. A row is written right after the manifest, or the mark of an overflow, that it tells
of, so that it may be lacking; a manifest is replaced only when no row tells of the former one any more, and removed
after its row is. Whoever reads features reads manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from featurestore.store import layout
from featurestore.store.digests import digest_of_parts
from featurestore.store.layout import FeatureSet, SampleSet

COLUMNS = (
    *("state", "kind", "model", "tap", "dataset", "split", "key"),
    *("n_shards", "parts_digest", "completed_at"),
)
"""Columns that `known_sets` reads."""


class Known(NamedTuple):
    """What the table says of a complete set, in its words."""

    n_shards: int
    parts_digest: str
    completed_at: datetime | None


@dataclass(frozen=True)
class KnownSets:
    """What the table says of all sets: which are complete, and which have the mark of an overflow."""

    complete: dict[FeatureSet | SampleSet, Known] = field(default_factory=dict)
    overflowed: set[FeatureSet] = field(default_factory=set)


def known_sets(rows: pa.Table) -> KnownSets:
    """Return what the table says, by the `COLUMNS` of its rows."""
    found = KnownSets()
    columns = [rows.column(name).to_pylist() for name in COLUMNS]
    for state, kind, model, tap, dataset, split, key, *said in zip(*columns, strict=True):
        if kind == "samples":
            item: FeatureSet | SampleSet = SampleSet(dataset, split, key)
        else:
            item = FeatureSet(model, dataset, split, key, tap)
        if state == layout.COMPLETE:
            found.complete[item] = Known(*said)
        elif state == layout.OVERFLOWED and isinstance(item, FeatureSet):
            found.overflowed.add(item)
    return found


def complete(item: FeatureSet | SampleSet, manifest: Mapping[str, Any], modified: datetime | None) -> dict[str, Any]:
    """Return the row of a set that has a manifest.

    Parameters
    ----------
    item : FeatureSet or SampleSet
    manifest : mapping
        What it says.
    modified : datetime or None
        Time of change of its file; by default the time that it names.
    """
    created_at = manifest.get("created_at")
    return {
        **_row(item, layout.COMPLETE),
        "n_shards": len(manifest["parts"]),
        "n_rows": manifest["rows"],
        "n_bytes": sum(part["bytes"] for part in manifest["parts"]),
        "parts_digest": digest_of_parts(manifest),
        "samples_key": manifest.get("samples") if isinstance(item, FeatureSet) else None,
        "completed_at": modified or (datetime.fromisoformat(created_at) if created_at else None),
    }


def unfinished(item: FeatureSet | SampleSet) -> dict[str, Any]:
    """Return the row of a set whose manifest is about to be written; it takes the place of that of a former one."""
    return _row(item, layout.COMPLETE) | {"state": layout.UNFINISHED}


def overflowed(item: FeatureSet) -> dict[str, Any]:
    """Return the row of a set that has the mark that float16 cannot hold its values."""
    return _row(item, layout.OVERFLOWED)


def _row(item: FeatureSet | SampleSet, state: str) -> dict[str, Any]:
    of_model = {"model": item.model, "tap": item.tap} if isinstance(item, FeatureSet) else {}
    return {
        "set_id": layout.set_id(item, state),
        "state": state,
        "kind": item.folder.split("/")[0],
        **of_model,
        "dataset": item.dataset,
        "split": item.split,
        "key": item.key,
    }
