"""Figures 8 and 9: accuracy against training steps, and against training images per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from featurestore.errors import UnknownNameError
from featurestore.store.schema import SETTINGS
from queries.asking.database import Database
from queries.drawing.figures import arrange
from queries.drawing.figures.choice import IMPORT, Choice, lacks
from queries.drawing.figures.figure import Figure
from queries.drawing.layers import error_bars, reach
from queries.drawing.log_odds_axis import LogOddsAxis
from queries.drawing.theme import by
from queries.drawing.vega_lite import Row, Spec, log_ticks, mark, number

_COLUMNS = 4
_BESIDE = 26.0  # points between panels
_ERROR = "logit_standard_error"  # a column of few-shot curves only


def over_steps(database: Database, choice: Choice) -> Figure:
    """Draw figure 8: training curves of a model, each point a run of its own."""
    rows = database.query("training_curves", **choice.slice()).to_pylist()
    if not rows:
        raise lacks(
            8,
            f"training curves ({choice.results()}, from runs of several lengths)",
            "Import them: probestore import results FILE.csv, with a column train_steps.",
        )
    model, shown = _of_one_model(rows, choice)
    return Figure(
        8,
        f"Accuracy of {model} on a log-odds scale against training steps, and epochs above; each point is a run of its "
        "own.",
        pa.Table.from_pylist(shown),
        _panels(shown, "train_steps", "Training steps", base=10),
    )


def over_images(database: Database, choice: Choice) -> Figure:
    """Draw figure 9: few-shot curves of a model, the mean over draws with its standard error."""
    found = database.query("few_shot_curves", **choice.slice()).to_pylist()
    rows = [row for row in found if row["n_per_class"] is not None]
    if not rows:
        raise lacks(
            9,
            f"{choice.results()} with few training images per class",
            "Fit them on what is stored: probestore probe --probe logistic --n-per-class 1 --n-per-class 2",
        )
    model, shown = _of_one_model(rows, choice)
    return Figure(
        9,
        f"Accuracy of {model} on a log-odds scale against training images per class: mean over draws, with its "
        f"standard error. {IMPORT if len({row['setting'] for row in shown}) == 1 else ''}".rstrip(),
        pa.Table.from_pylist(shown),
        _panels(shown, "n_per_class", "Images per class", base=2),
    )


def _of_one_model(rows: list[Row], choice: Choice) -> tuple[str, list[Row]]:
    """Return the model asked for, else that with most points, and its rows; of one dataset if one was asked for."""
    counts = Counter(row["model"] for row in rows)
    model = choice.models[0] if choice.models else min(counts, key=lambda name: (-counts[name], name))
    if model not in counts:
        raise UnknownNameError("model", model, counts, f"With such curves: {', '.join(sorted(counts))}.")
    datasets = {row["dataset"] for row in rows if row["model"] == model}
    if choice.dataset is not None and choice.dataset not in datasets:
        raise UnknownNameError("dataset", choice.dataset, datasets, f"{model} has: {', '.join(sorted(datasets))}.")
    return model, [row for row in rows if row["model"] == model and choice.dataset in (None, row["dataset"])]


def _panels(rows: list[Row], field: str, title: str, base: int) -> Spec:
    """Return a panel per dataset."""
    datasets = arrange.in_order(row["dataset"] for row in rows)
    settings = [setting for setting in SETTINGS if any(row["setting"] == setting for row in rows)]
    width = arrange.panel_width(_COLUMNS, spacing=_BESIDE, beside=36)
    panels = [
        _panel(dataset, [row for row in rows if row["dataset"] == dataset], (field, title, base), settings, width)
        for dataset in datasets
    ]
    below = 62.0 if any(row.get("epochs") for row in rows) else 42.0
    return arrange.grid(panels, min(_COLUMNS, len(datasets)), (_BESIDE, below))


def _panel(dataset: str, rows: list[Row], axis: tuple[str, str, int], settings: list[str], width: float) -> Spec:
    field, _, base = axis
    height = 0.75 * width
    y = LogOddsAxis.around(reach(rows, "logit", _ERROR), height, "", ticks=4)
    numbers = [row[field] for row in rows]
    ends = (min(numbers) / 1.25, max(numbers) * 1.25)
    x = _log_x(*axis, numbers, ends)
    legend = {"orient": "top", "title": None, "direction": "horizontal"}
    colours = by("setting", settings, named=SETTINGS, legend=legend)
    at = {"x": x, "y": y.specification("logit")}
    curves = [
        mark(rows, "line", at | {"color": colours["color"]}, strokeWidth=0.8),
        *error_bars(rows, x, y, "logit", _ERROR, {"color": colours["color"]}, strokeWidth=0.6),
        mark(rows, "point", at | colours, size=14, filled=True, opacity=1),
    ]
    timed = [row for row in rows if row.get("epochs")]
    if not timed:
        return arrange.panel(curves, width, height, dataset)
    ratio = timed[0]["epochs"] / timed[0]["train_steps"]
    above = _log_x("epochs", "Epochs", base, [ratio * number for number in numbers], (ratio * ends[0], ratio * ends[1]))
    above["axis"]["orient"] = "top"
    unseen = mark(timed, "point", {"x": above, "y": y.specification("logit")}, opacity=0)
    both = arrange.panel([{"layer": curves}, unseen], width, height, dataset, above=24)
    return both | {"resolve": {"scale": {"x": "independent"}}}


def _log_x(field: str, title: str, base: int, numbers: Iterable[float], ends: tuple[float, float]) -> Spec:
    ticks = [tick for tick in log_ticks(numbers, base, most=5) if ends[0] <= tick <= ends[1]]
    axis = {"values": ticks, "format": "~s" if base == 10 else "~g"}
    scale = {"type": "log", "base": base, "domain": list(ends), "nice": False}
    return number(field, title=title, scale=scale, axis=axis)
