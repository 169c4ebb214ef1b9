"""What the templates show that is no answer as it stands: the grid of accuracies, pictures, study files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from featurestore import FeatureStore
from queries.asking.database import Database
from queries.report.asked import Asked, Row
from queries.report.thumbnails import thumbnails

SHADES = 7
"""Steps from the lowest to the highest accuracy of a dataset, each a class of the style sheet; the lowest has none."""

_MOST_DATASETS_WITH_ERRORS = 6  # more would not fit beside each other; the data has them
_MOST_IMAGES_OF_A_DATASET = 8
_MOST_IMAGES = 48
_MOST_PAIRS = 24
_MOST_STUDIES = 10
_MOST_CHARACTERS = 20_000


def grid(scores: list[Row], leaderboard: list[Row]) -> dict[str, Any]:
    """Models, datasets and the cells between them, each with its shade within its dataset.

    Parameters
    ----------
    scores : list of dict
        The question `scores_by_dataset`.
    leaderboard : list of dict
        Its models are the rows, in its order.
    """
    ends: dict[str, tuple[float, float]] = {}
    for row in scores:
        low, high = ends.get(row["dataset"], (row["value"], row["value"]))
        ends[row["dataset"]] = min(low, row["value"]), max(high, row["value"])
    return {
        "models": [row["model"] for row in leaderboard],
        "datasets": sorted(ends),
        "cells": {
            (row["model"], row["dataset"]): row | {"shade": _shade(row["value"], *ends[row["dataset"]])}
            for row in scores
        },
        "show_errors": len(ends) <= _MOST_DATASETS_WITH_ERRORS
        and any(row["standard_error"] is not None for row in scores),
    }


def hard_images(rows: list[Row], sources: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """Datasets with their hardest images and pictures of them.

    Parameters
    ----------
    rows : list of dict
        The question `hardest_images`, the hardest of each dataset first.
    sources : mapping of str to str
        Dataset -> ``family:place``.
    """
    wrong = [row for row in rows if row["wrong"] > 0]
    by_dataset = {
        name: list(images) for name, images in groupby(sorted(wrong, key=itemgetter("dataset")), itemgetter("dataset"))
    }
    most = max(2, min(_MOST_IMAGES_OF_A_DATASET, _MOST_IMAGES // max(1, len(by_dataset))))
    for dataset, images in by_dataset.items():
        shown = images[:most]
        pictures = thumbnails(sources.get(dataset), shown)
        yield {
            "name": dataset,
            "images": [image | vars(picture) for image, picture in zip(shown, pictures, strict=True)],
        }


def leak_counts(database: Database, leaks: Asked) -> list[Row]:
    """The question `leaks`, counted."""
    rows: list[Row] = database.sql(f"""
        with sizes as (
            select dataset, count(*) as n_test from samples where split = 'test' group by dataset
        )
        select
            dataset,
            count(distinct index) filter (kind = 'exact') as exact,
            count(distinct index) filter (kind = 'near') as near,
            count(distinct index) / any_value(n_test) as share,
            count(distinct index) filter (not same_label) as other_label
        from (\n{leaks.sql}\n)
        left join sizes using (dataset)
        group by dataset
        order by dataset
    """).to_pylist()
    return rows


def leak_pairs(rows: list[Row], sources: Mapping[str, str | None]) -> Iterator[Row]:
    """Pairs of images, both with their pictures: exact copies first, then the most similar."""
    first = sorted(rows, key=lambda row: (row["kind"] != "exact", -(row["similarity"] or 0)))[:_MOST_PAIRS]
    for row in first:
        images = (
            {"source": row["source"], "sample_id": row["sample_id"]},
            {"source": row["near_source"], "sample_id": row["near_sample_id"]},
        )
        test, train = thumbnails(sources.get(row["dataset"]), images)
        yield row | {"test": images[0] | vars(test), "train": images[1] | vars(train)}


def few_shot(database: Database, curves: Asked) -> list[Row]:
    """Mean accuracy by training images per class, over what was scored with every number of them in its setting."""
    rows: list[Row] = database.sql(f"""
        with curves as (
            select * from (\n{curves.sql}\n)
        ),
        complete as (
            select setting, model, dataset
            from curves
            join (select setting, count(distinct coalesce(n_per_class, 0)) as sizes from curves group by setting)
                using (setting)
            where sizes > 1
            group by setting, model, dataset, sizes
            having count(*) = sizes
        )
        select
            setting,
            coalesce(n_per_class::varchar, 'all') as n_per_class,
            avg(value order by dataset, model) as value,
            count(distinct model) as n_models,
            count(distinct dataset) as n_datasets
        from curves semi join complete using (setting, model, dataset)
        group by setting, curves.n_per_class
        order by setting, curves.n_per_class nulls last
    """).to_pylist()
    return rows


def costs(database: Database, cost: Asked) -> list[Row]:
    """The question `cost`, summed over datasets."""
    rows: list[Row] = database.sql(f"""
        select
            setting,
            model,
            count(*) as n_datasets,
            sum(images) as images,
            sum(images) filter (feature_seconds is not null) / sum(feature_seconds order by dataset)
                as images_per_second,
            sum(feature_seconds order by dataset) as feature_seconds,
            sum(feature_bytes) as feature_bytes,
            sum(n_cells) as n_cells,
            sum(cell_seconds order by dataset) as cell_seconds
        from (\n{cost.sql}\n)
        group by setting, model
        having sum(feature_bytes) is not null or sum(cell_seconds) is not null or sum(images) is not null
        order by setting, model
    """).to_pylist()
    return rows


def studies(store: FeatureStore) -> Iterator[dict[str, str]]:
    """Study files that were run on the store, the latest first, as text."""
    files = sorted(
        store.storage.files("studies"), key=lambda file: (file.modified is None, file.modified), reverse=True
    )
    for file in files[:_MOST_STUDIES]:
        text = store.storage.read_bytes(file.name).decode("utf-8", "replace")
        more = f"\n# ... {len(text) - _MOST_CHARACTERS:,} more characters" if len(text) > _MOST_CHARACTERS else ""
        yield {"name": file.name, "text": text[:_MOST_CHARACTERS] + more}


def _shade(value: float, low: float, high: float) -> int:
    """0 for the lowest of a dataset, `SHADES` for the highest; in the middle where all are equal."""
    return round(SHADES * (value - low) / (high - low)) if high > low else SHADES // 2
