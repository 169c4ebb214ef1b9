"""Section: are test images among the training images?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from queries.report.page_answers import Row
from queries.report.section import Material, Section
from queries.report.thumbnails import thumbnails

_MOST_PAIRS = 24


def shown(material: Material) -> dict[str, Any]:
    """Return pairs of images with their pictures, and how many datasets were searched for copies."""
    return {
        "leak_pairs": list(_pairs(material.answers["leaks"].rows, material.sources)),
        "n_searched": len(material.answers["representations"].values("dataset")),
    }


def _pairs(rows: Sequence[Row], sources: Mapping[str, str | None]) -> Iterator[Row]:
    """Return pairs, both images with their pictures: exact copies first, then the most similar."""
    first = sorted(rows, key=lambda row: (row["kind"] != "exact", -(row["similarity"] or 0)))[:_MOST_PAIRS]
    for row in first:
        images = (
            {"source": row["source"], "sample_id": row["sample_id"]},
            {"source": row["near_source"], "sample_id": row["near_sample_id"]},
        )
        test, train = thumbnails(sources.get(row["dataset"]), images)
        yield row | {"test": images[0] | vars(test), "train": images[1] | vars(train)}


SECTION = Section(
    order=8,
    title="Leaks",
    heading="Are test images among the training images?",
    questions=("leaks", "leak_counts", "representations", "datasets_used"),
    shown=shown,
)
