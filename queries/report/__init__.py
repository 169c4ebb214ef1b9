"""The report: questions with their charts and tables, as one HTML page that needs no other file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from featurestore import FeatureStore
from featurestore.errors import QueryError
from featurestore.store.storage_options import Options
from featurestore.written_whole import written_whole
from queries.asking.database import Database
from queries.drawing import charts
from queries.drawing.vega_lite import Spec
from queries.report.contents import draw, questions_with_parameters
from queries.report.page import page_body, style, whole_page
from queries.report.page_answers import ask
from queries.report.section import Material

__all__ = ["render", "style", "write_report"]


def write_report(
    store_uri: str,
    out: str | Path,
    charts_dir: str | Path | None = None,
    charts_format: str = "svg",
    *,
    storage_options: Options | None = None,
) -> Path:
    """Write the report of a store as one HTML file, and its charts if asked for.

    The page shows the setting, probe, tap and number of training images that most results have, and names the others.

    Parameters
    ----------
    store_uri : str
    out : str or Path
        The HTML file; it appears whole or not at all.
    charts_dir : str or Path, optional
        Folder for the charts as files.
    charts_format : {"svg", "png"}
    storage_options : mapping of str to str, optional
        See `featurestore.store.places.open_place`.

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
    store = FeatureStore.open(store_uri, storage_options=storage_options)
    with Database(store) as database:
        answers = ask(database, questions_with_parameters())
        drawn = dict(draw(answers))
        page = whole_page(page_body(Material(store, database, answers, list(drawn)), drawn))
    _write(Path(out), page)
    if charts_dir is not None:
        _save_charts(drawn, Path(charts_dir), charts_format)
    return Path(out)


def render(store: FeatureStore, database: Database) -> str:
    """Return the inside of the report's <body>, for a page that has its own head; its style is `style()`.

    Parameters
    ----------
    store : FeatureStore
    database : Database
        Over that store.

    Raises
    ------
    QueryError
        If the store cannot be read.
    """
    answers = ask(database, questions_with_parameters())
    drawn = dict(draw(answers))
    return page_body(Material(store, database, answers, list(drawn)), drawn)


def _save_charts(drawn: Mapping[str, Spec], folder: Path, form: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QueryError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    for name, chart in drawn.items():
        charts.save(chart, folder / f"{_file_name(name)}.{form}")


def _file_name(name: str) -> str:
    """Return the name in characters that every file system takes; a digest tells apart names that then look alike."""
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _write(path: Path, page: str) -> None:
    try:
        with written_whole(path) as staged:
            staged.write_text(page, encoding="utf-8")
    except OSError as error:
        raise QueryError(f"Cannot write the report {path}: {error.strerror}.") from error
