"""The rows of the table `sets`, from which a run learns what is complete without listing any shard.

The table is an index and no truth. A row is written right after the manifest, or the mark of an overflow, that it tells
of, so that it may be lacking; and it is removed before these are. Whoever reads features reads manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from featurestore.store import layout
from featurestore.store.digests import digest_of_parts
from featurestore.store.layout import FeatureSet, SampleSet


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
        "completed_at": modified or (datetime.fromisoformat(created_at) if created_at else None),
    }


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
