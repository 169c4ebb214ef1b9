"""Report: the questions in order, their charts and tables, as one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from featurestore import FeatureStore
from featurestore.errors import QueryError
from featurestore.places import Options
from queries import answer, charts, formats
from queries.database import Database

MEAN_PANEL = "mean over datasets"  # as the query transfer_points calls it

Row = dict[str, Any]


@dataclass(frozen=True)
class _Answers:
    """What the questions said, of the slice of results that has the most cells."""

    slices: list[Row]
    tables: Mapping[str, pa.Table]

    def rows(self, name: str) -> list[Row]:
        rows: list[Row] = self.tables[name].to_pylist()
        return rows

    def where(self, name: str, column: str, value: str) -> pa.Table:
        table = self.tables[name]
        return table.filter(pc.equal(table[column], value))

    def values(self, name: str, column: str) -> list[str]:
        return sorted(set(self.tables[name][column].to_pylist()))


_OF_A_SLICE = (
    "leaderboard", "accuracy_grid", "transfer_correlation", "correlation_by_dataset", "transfer_points",
    "transfer_band", "tuning_curves",
)  # fmt: skip
_OF_THE_STORE = (
    "coverage", "open_failures", "skipped_images", "datasets_used", "models_used", "provenance",
    "chosen_regularization",
)  # fmt: skip
_PARAMETERS = ("setting", "probe", "tap", "n_per_class")


def write_report(
    store_uri: str,
    out: str | Path,
    charts_dir: str | Path | None = None,
    charts_format: str = "svg",
    *,
    storage_options: Options | None = None,
) -> Path:
    """Write the report of a store as one HTML file, and its charts if asked for.

    It shows the setting, probe, tap and number of training images that most results have, and names the others.

    Parameters
    ----------
    store_uri : str
    out : str or Path
        The HTML file; it appears whole or not at all.
    charts_dir : str or Path, optional
        Folder for the charts as files.
    charts_format : {"svg", "png"}
    storage_options : mapping of str to str, optional
        See `featurestore.places.open_place`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    StoreError
        If there is no store.
    QueryError
        If the store cannot be read, or a file cannot be written.
    """
    if charts_format not in charts.FORMATS:
        raise QueryError(f"The format of charts must be one of {', '.join(charts.FORMATS)}. Got {charts_format!r}.")
    with Database(FeatureStore.open(store_uri, storage_options=storage_options)) as database:
        answers = _ask(database)
    drawn = dict(_draw(answers))
    _write(Path(out), _page(answers, drawn, database.uri))
    if charts_dir is not None:
        _save_charts(drawn, Path(charts_dir), charts_format)
    return Path(out)


def _ask(database: Database) -> _Answers:
    slices = database.query("slices").to_pylist()
    main = {name: slices[0][name] for name in _PARAMETERS} if slices else {}
    tables = {name: database.query(name, **main) for name in _OF_A_SLICE}
    return _Answers(slices, tables | {name: database.query(name) for name in _OF_THE_STORE})


def _draw(answers: _Answers) -> Iterator[tuple[str, alt.LayerChart]]:
    """(name, chart) of everything that there are rows for; the name becomes a file name."""
    found = {row["dataset"]: row for row in answers.rows("correlation_by_dataset")}
    found[MEAN_PANEL] = answers.rows("transfer_correlation")[0]
    for panel in answers.values("transfer_points", "panel"):
        main = panel == MEAN_PANEL
        points, band = (answers.where(name, "panel", panel) for name in ("transfer_points", "transfer_band"))
        yield (
            "transfer" if main else f"transfer-{panel}",
            charts.transfer_scatter(
                points,
                band,
                title=_mean_title(found[panel]["n_datasets"]) if main else panel,
                subtitle=_correlation_in_short(found[panel]),
                small=not main,
            ),
        )
    models = [row["model"] for row in answers.rows("leaderboard")]
    if models:
        yield "leaderboard", charts.leaderboard(answers.tables["leaderboard"])
        yield "accuracy_grid", charts.accuracy_grid(answers.tables["accuracy_grid"], models=models)
    for dataset in answers.values("tuning_curves", "dataset"):
        curves = answers.where("tuning_curves", "dataset", dataset)
        curves = curves.filter(pc.greater(curves["value"], 0))  # a logarithmic axis has no place for 0
        if curves.num_rows:
            yield f"tuning-{dataset}", charts.tuning_curves(curves, title=dataset)


def _mean_title(n_datasets: int) -> str:
    return f"Mean over {n_datasets} dataset{'' if n_datasets == 1 else 's'}"


def _correlation_in_short(found: Row) -> str:
    if found["r"] is None:
        return f"n = {found['n_models']}"
    interval = "" if found["fisher_low"] is None else f" ({found['fisher_low']:.2f} to {found['fisher_high']:.2f})"
    return f"r = {found['r']:.2f}{interval}, n = {found['n_models']}"


def _page(answers: _Answers, drawn: Mapping[str, alt.LayerChart], uri: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(readable=formats.readable, percent=_percent, pretty_json=_pretty_json)
    return environment.get_template("report.html.jinja").render(
        store=uri,
        made_at=datetime.now(UTC),
        best=answer.best_model(answers.rows("leaderboard")),
        correlation=answer.correlation(answers.rows("transfer_correlation")[0]),
        left_out=[row for row in answers.rows("leaderboard") if row["rank"] is None],
        slices=answers.slices,
        grid=_grid(answers),
        health=_health([row for row in answers.rows("chosen_regularization") if _is_shown(row, answers.slices[0])]),
        statuses=Counter(answers.tables["coverage"]["status"].to_pylist()),
        # vl-convert escapes the names inside, and the page is nothing but its output there
        svg={name: Markup(charts.to_svg(chart)) for name, chart in drawn.items() if name != "accuracy_grid"},
        **{name: answers.rows(name) for name in (*_OF_A_SLICE, *_OF_THE_STORE)},
    )


def _grid(answers: _Answers) -> dict[str, Any]:
    """The accuracy grid with datasets as columns; each value knows its place between the lowest and highest of its own.

    Where a cell was fitted with several seeds or solvers, the mean is shown.
    """
    values: dict[tuple[str, str], list[Row]] = {}
    for row in answers.rows("accuracy_grid"):
        values.setdefault((row["model"], row["dataset"]), []).append(row)
    means = {place: sum(row["value"] for row in rows) / len(rows) for place, rows in values.items()}
    ends: dict[str, list[float]] = {}
    for (_, dataset), mean in means.items():
        ends.setdefault(dataset, []).append(mean)
    cells = {
        place: {
            "value": mean,
            "standard_error": values[place][0]["standard_error"],
            "share": _share(mean, ends[place[1]]),
            "metric": values[place][0]["metric"],
        }
        for place, mean in means.items()
    }
    return {
        "models": [row["model"] for row in answers.rows("leaderboard")],
        "datasets": answers.values("accuracy_grid", "dataset"),
        "cells": cells,
    }


def _share(value: float, of: list[float]) -> float:
    low, high = min(of), max(of)
    return (value - low) / (high - low) if high > low else 0.5


def _is_shown(row: Row, shown: Row) -> bool:
    """Whether a row belongs to the slice that the page shows."""
    return all(row[name] == shown[name] for name in _PARAMETERS)


def _health(fits: list[Row]) -> dict[str, Any]:
    """What to distrust among the chosen hyper-parameters."""
    gaps = [row["duality_gap"] for row in fits if row["duality_gap"] is not None]
    return {
        "n": len(fits),
        "at_edge": sum(row["edge"] is not None for row in fits),
        "not_converged": sum(row["converged"] is False for row in fits),
        "largest_gap": max(gaps, default=None),
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _pretty_json(text: str | None) -> str:
    """`a 1, b 2` of a JSON object; any other text as it is."""
    try:
        record = json.loads(text or "{}")
    except json.JSONDecodeError:
        return text or ""
    return ", ".join(f"{name} {value}" for name, value in record.items()) if isinstance(record, dict) else str(record)


def _save_charts(drawn: Mapping[str, alt.LayerChart], folder: Path, form: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QueryError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    for name, chart in drawn.items():
        charts.save(chart, folder / f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', name)}.{form}")


def _write(path: Path, page: str) -> None:
    """Through a file beside it, so that a reader never sees half a page."""
    beside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(page, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise QueryError(f"Cannot write the report {path}: {error.strerror}.") from error
