"""Section: which images do most models get wrong?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from queries.report.page_answers import Row
from queries.report.section import Material, Section
from queries.report.thumbnails import thumbnails

_MOST_IMAGES_OF_A_DATASET = 8
_MOST_IMAGES = 48


def shown(material: Material) -> dict[str, Any]:
    """Return the hardest images of each dataset with their pictures."""
    return {"hard_images": list(_hard_images(material.answers["hardest_images"].rows, material.sources))}


def _hard_images(rows: Sequence[Row], sources: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """Return datasets with their hardest images; `rows` has the hardest of each dataset first."""
    wrong = [row for row in rows if row["wrong"] > 0]
    by_dataset = {
        name: list(images) for name, images in groupby(sorted(wrong, key=itemgetter("dataset")), itemgetter("dataset"))
    }
    most = max(2, min(_MOST_IMAGES_OF_A_DATASET, _MOST_IMAGES // max(1, len(by_dataset))))
    for dataset, images in by_dataset.items():
        first = images[:most]
        pictures = thumbnails(sources.get(dataset), first)
        yield {
            "name": dataset,
            "images": [image | vars(picture) for image, picture in zip(first, pictures, strict=True)],
        }


SECTION = Section(
    order=7,
    title="Hardest images",
    heading="Which images do most models get wrong?",
    questions=("hardest_images", "datasets_used"),
    shown=shown,
)
