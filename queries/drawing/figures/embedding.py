"""Figure 4: the features of a few classes under two models, by t-SNE.

SQL cannot do t-SNE, so scikit-learn's runs on the rows of the question `features_of_classes`. It shows which images
are neighbours; distances between groups and their sizes mean nothing.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from featurestore.errors import ConfigurationError, UnknownNameError
from queries.asking.database import Database
from queries.drawing.figures import arrange
from queries.drawing.figures.choice import Choice, lacks
from queries.drawing.figures.figure import Figure
from queries.drawing.theme import PRINT, by
from queries.drawing.vega_lite import Row, Spec, mark, number

_FEWEST = 8  # images


def two_models(database: Database, choice: Choice) -> Figure:
    """Draw figure 4: ten classes of a dataset under two models."""
    models, dataset = _chosen(database, choice)
    rows = [row for model in models for row in _embedded(database, choice, model, dataset)]
    spacing = 16.0
    width = arrange.panel_width(2, spacing=spacing, beside=6)
    classes = sorted({(row["label"], row["class"]) for row in rows})
    panels = [
        _panel([row for row in rows if row["model"] == model], [name for _, name in classes], model, width)
        for model in models
    ]
    return Figure(
        4,
        f"Test images of {len(classes)} classes of {dataset} by the features of {models[0]} and {models[1]} (t-SNE, "
        f"perplexity at most 30, seed {choice.seed}). Neighbours are alike; distances between groups mean nothing.",
        pa.Table.from_pylist(rows),
        arrange.side_by_side(panels, spacing),
    )


def _chosen(database: Database, choice: Choice) -> tuple[tuple[str, ...], str]:
    """Return the two models and the dataset, which must have features."""
    there: dict[str, set[str]] = {}
    sql = "select distinct dataset, model from current_feature_sets where split = 'test' order by all"
    for row in database.sql(sql).to_pylist():
        there.setdefault(row["dataset"], set()).add(row["model"])
    if not there:
        raise lacks(4, "features of test images", "Extract them: probestore run STUDY")
    dataset = choice.dataset or min(there)
    if dataset not in there:
        raise UnknownNameError("dataset", dataset, there, f"With features: {', '.join(sorted(there))}.")
    held = f"With features of {dataset}: {', '.join(sorted(there[dataset]))}."
    if len(choice.models) != 2:
        raise ConfigurationError(f"Figure 4 needs two models: --model A --model B. Got {len(choice.models)}. {held}")
    for model in choice.models:
        if model not in there[dataset]:
            raise UnknownNameError("model", model, there[dataset], held)
    return choice.models, dataset


def _embedded(database: Database, choice: Choice, model: str, dataset: str) -> list[Row]:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    asked = {"model": model, "dataset": dataset, "tap": choice.tap, "seed": choice.seed}
    images = database.query("features_of_classes", **asked)
    if images.num_rows < _FEWEST:
        raise lacks(
            4,
            f"features of at least {_FEWEST} test images of {dataset}, each of one class, by {model} at the tap "
            f"{choice.tap!r}",
            "Extract them: probestore run STUDY",
        )
    X = np.array(images["feature"].to_pylist(), dtype=np.float32)  # (n_images, feature_dim)
    with threadpool_limits(limits=1):  # so few images are slower with more, and sums keep their order
        places = TSNE(perplexity=min(30.0, (len(X) - 1) / 3), init="pca", random_state=choice.seed).fit_transform(X)
    return [
        {"model": model, "dataset": dataset, "index": row["index"], "label": row["label"]}
        | {"class": row["label_name"] or str(row["label"]), "x": float(x), "y": float(y)}
        for row, (x, y) in zip(images.drop_columns("feature").to_pylist(), places, strict=True)
    ]


def _panel(rows: list[Row], classes: list[str], title: str, width: float) -> Spec:
    scale = {"zero": False, "nice": False, "padding": 6}
    legend = {"orient": "bottom", "title": None, "columns": 5}
    at = {axis: number(axis, axis=None, scale=scale) for axis in ("x", "y")}
    dots = mark(rows, "point", at | by("class", classes, legend=legend), size=10, filled=True, opacity=0.9)
    frame = {"view": {"stroke": PRINT.grey, "strokeWidth": 0.5}}
    return arrange.panel([dots], width, 0.8 * width, title) | frame
