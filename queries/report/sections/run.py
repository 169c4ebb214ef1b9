"""Section: what failed, what was skipped, and how everything was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from featurestore import FeatureStore
from queries.report.section import Material, Section

_MOST_STUDIES = 10
_MOST_CHARACTERS = 20_000


def shown(material: Material) -> dict[str, Any]:
    """Return counts, seeds and the study files."""
    seeds = material.database.sql("select distinct seed from results order by seed").column(0).to_pylist()
    return {
        "store": material.store.uri,
        "made_at": datetime.now(UTC),
        "statuses": Counter(row["status"] for row in material.answers["coverage"]),
        "superseded": _superseded(material),
        "slices": material.answers.slices,
        "seeds": seeds,
        "studies": list(_studies(material.store)),
    }


def _superseded(material: Material) -> Counter[str]:
    """Return the number of stored cells that count in no answer, by the reason."""
    found: Counter[str] = Counter()
    for row in material.answers["superseded_results"]:
        found[row["reason"]] += row["n_cells"]
    return found


def _studies(store: FeatureStore) -> Iterator[dict[str, str]]:
    """Return the study files that were run on the store as text, the latest first."""
    files = sorted(
        store.storage.files("studies"), key=lambda file: (file.modified is None, file.modified), reverse=True
    )
    for file in files[:_MOST_STUDIES]:
        text = store.storage.read_bytes(file.name).decode("utf-8", "replace")
        more = f"\n# ... {len(text) - _MOST_CHARACTERS:,} more characters" if len(text) > _MOST_CHARACTERS else ""
        yield {"name": file.name, "text": text[:_MOST_CHARACTERS] + more}


SECTION = Section(
    order=11,
    title="How it was made",
    heading="What failed, what was skipped, and how it was made",
    questions=(
        "coverage",
        "superseded_results",
        "open_failures",
        "skipped_images",
        "datasets_used",
        "models_used",
        "provenance",
    ),
    shown=shown,
)
