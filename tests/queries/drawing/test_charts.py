"""Charts: what they draw, from answers given as rows."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore.errors import QueryError
from queries.drawing import chart_labels, charts, layers
from queries.drawing.log_odds_axis import LogOddsAxis, percent_ticks
from queries.drawing.theme import BLUE, PAGE, VERMILION
from queries.drawing.vega_lite import to_svg


def points(names: list[str], spread: float = 1.0) -> pa.Table:
    """Models on a slope."""
    rows = [
        {"panel": "p", "model": name, "source_value": 0.7, "source_x": 0.8 + spread * i / 50}
        | {"logit": 1 + spread * i / 40, "standard_error": 0.1}
        for i, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows)


BAND = pa.table({"source_x": [0.8, 1.8], "logit": [1.0, 2.0], "logit_low": [0.9, 1.5], "logit_high": [1.1, 2.5]})
NO_BAND = BAND.slice(0, 0)


def scatter(names: list[str], band: pa.Table = NO_BAND, **options: Any) -> str:
    return to_svg(charts.transfer_scatter(points(names), band, title="Title", subtitle="r = 0.9", **options))


def test_the_scatter_names_its_models_and_follows_the_theme_of_the_page() -> None:
    svg = scatter(["resnet50", "vit_s"], BAND)
    assert all(text in svg for text in (">resnet50<", ">vit_s<", ">Title<", ">r = 0.9<", ">ImageNet top-1<"))
    assert 'fill="currentColor"' in svg
    assert 'fill="white"' not in svg


def test_names_are_escaped() -> None:
    svg = scatter(["<script>alert(1)</script>", 'a"b&c'])
    assert "<script" not in svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in svg


@pytest.mark.parametrize("count", [1, 50])
def test_one_and_fifty_models_are_drawn(count: int) -> None:
    svg = scatter([f"model_number_{i}" for i in range(count)])
    assert svg.count('aria-roledescription="circle"') == count
    assert re.search(r">model_number_\d+<", svg)


def test_no_label_covers_a_dot_or_another_label() -> None:
    rows = points([f"model{i}" for i in range(50)]).to_pylist()
    x = LogOddsAxis.around((row["source_x"] for row in rows), 420, "")
    y = LogOddsAxis.around((row["logit"] for row in rows), 300, "")
    labels = [label for _, label in layers.placed_names(rows, [], x, y, PAGE, font_size=11)]
    assert 5 < len(labels) <= 50
    boxes = [box(label) for label in labels]
    assert not any(chart_labels.overlap(a, b) for a, b in itertools.combinations(boxes, 2))


def box(label: chart_labels.Label) -> chart_labels.Box:
    width = 0.56 * 11 * len(label.text)
    left = label.x - {"left": 0, "center": width / 2, "right": width}[label.align]
    return left, label.y - 5.5, left + width, label.y + 5.5


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.81), (0.02, 0.98), (0.985, 0.9995), (0.5, 0.5001)])
def test_axes_are_labelled_at_round_percentages(low: float, high: float) -> None:
    ends = [math.log(p / (1 - p)) for p in (low, high)]
    axis = LogOddsAxis.around(ends, 300, "")
    ticks = percent_ticks(axis.low, axis.high)
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(ticks)
    for tick in ticks:
        per_cent = 100 / (1 + math.exp(-tick))
        assert per_cent == pytest.approx(round(per_cent, 2), abs=1e-9)


def test_the_leaderboard_draws_compared_models_only_with_and_without_intervals() -> None:
    row = {
        "rank": 1.0,
        "model": "a",
        "adjusted": 0.1,
        "adjusted_low": None,
        "adjusted_high": None,
        "ties_with_best": True,
    }
    rows = [
        row,
        row | {"rank": 2.0, "model": "b", "adjusted_low": -0.2, "adjusted_high": 0.4, "ties_with_best": False},
        dict.fromkeys(row) | {"model": "left_out"},
    ]
    svg = to_svg(charts.leaderboard(pa.Table.from_pylist(rows)))
    assert ">a<" in svg
    assert ">b<" in svg
    assert "left_out" not in svg


def test_the_grid_and_the_curves_are_drawn() -> None:
    grid = pa.table({"model": ["a", "b"], "dataset": ["d", "d"], "value": [0.5, 0.75]})
    assert ">75.0<" in to_svg(charts.accuracy_grid(grid, models=["b", "a"]))
    curve = {"model": "a", "dataset": "d", "solver": "path", "seed": 0, "hyperparameter": "l2", "validation": 0.5}
    rows = [curve | {"value": v, "chosen": v == 1, "at_grid_edge": v == 1} for v in (0.01, 0.1, 1.0)]
    assert VERMILION in to_svg(charts.tuning_curves(pa.Table.from_pylist(rows), title="d"))


def test_differences_of_settings_are_filled_where_they_are_significant() -> None:
    pair = {"setting": "finetuned", "other": "fixed"}
    rows = [
        pair | {"dataset": "d0", "mean_difference": 0.5, "p": 0.01},
        pair | {"dataset": "d1", "mean_difference": -0.1, "p": 0.6},
        pair | {"dataset": "d2", "mean_difference": 0.0, "p": None},
    ]
    svg = to_svg(charts.setting_differences(pa.Table.from_pylist(rows)))
    assert ">fine-tuned over fixed<" in svg
    dots = re.findall(r'<path aria-label="(d\d), fine-tuned over fixed: ([^"]+)"([^>]*)', svg)
    filled = [(dataset, difference, f'fill="{BLUE}"' in rest) for dataset, difference, rest in dots]
    assert filled == [("d0", "+0.50", True), ("d1", "-0.10", False), ("d2", "+0.00", False)]


def test_effects_of_recipes_are_named_by_what_differs() -> None:
    row = {"changed": "dropout", "value": "0", "other_value": "0.2", "model": "a", "other": "b"}
    rows = [row | {"transfer_difference": 0.1, "standard_error": 0.02}, row | {"model": "c", "other": "d"}]
    rows[1] |= {"transfer_difference": -0.1, "standard_error": None}
    svg = to_svg(charts.recipe_effects(pa.Table.from_pylist(rows)))
    assert ">dropout 0 → 0.2, a → b<" in svg
    assert 'aria-label="dropout 0 → 0.2, c → d: -0.100"' in svg


def test_charts_are_saved_on_white_as_svg_and_png(tmp_path: Path) -> None:
    chart = charts.transfer_scatter(points(["a", "b"]), NO_BAND, title="t", subtitle="")
    charts.save(chart, tmp_path / "a.svg")
    charts.save(chart, tmp_path / "a.png")
    assert 'fill="white"' in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(QueryError, match=r"one of svg, png\. Got 'gif'"):
        charts.save(chart, tmp_path / "a.gif")


def test_importing_queries_loads_nothing_heavy() -> None:
    code = "import sys, queries; print({'vl_convert', 'duckdb', 'rich', 'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
