"""The page: answers, charts and pictures put into the templates."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import altair as alt
import jinja2
from markupsafe import Markup

from featurestore import FeatureStore
from queries.asking import answer, formats
from queries.asking.database import Database
from queries.report import cell_text, contents
from queries.report.asked import Answers
from queries.report.drawings import MOST_CURVES
from queries.report.page_svg import page_svg

TITLE = "Which model should I use?"

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A part of the page; its template has its name.

    Attributes
    ----------
    name : str
    title : str
        In the list of sections.
    heading : str
    """

    name: str
    title: str
    heading: str


SECTIONS = (
    Section("transfer", "Correlation", "Does a better ImageNet model transfer better?"),
    Section("datasets", "By dataset", "Dataset by dataset"),
    Section("leaderboard", "Leaderboard", "Leaderboard"),
    Section("settings", "Settings", "Fixed features, fine-tuning or training from scratch?"),
    Section("tuning", "Regularisation", "How was the regularisation chosen?"),
    Section("recipes", "Recipes", "What does the training recipe do?"),
    Section("images", "Hardest images", "Which images do most models get wrong?"),
    Section("leaks", "Leaks", "Are test images among the training images?"),
    Section("cost", "Cost", "What did it cost?"),
    Section("run", "How it was made", "What failed, what was skipped, and how it was made"),
)


def style() -> str:
    """Return the style sheet, the text of one <style> element."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


def whole_page(body: str) -> str:
    """Return the file: `body` below a head that lets nothing be loaded or run."""
    css = style()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    template = _environment().get_template("page.html.jinja")
    return template.render(title=TITLE, style=Markup(css), style_digest=digest, body=Markup(body))


def page_body(store: FeatureStore, database: Database, answers: Answers, drawn: Mapping[str, alt.LayerChart]) -> str:
    """Return what stands inside <body>."""
    leaderboard = answers["leaderboard"].rows
    sources = {row["dataset"]: row["source"] for row in answers["datasets_used"]}
    seeds = database.sql("select distinct seed from results order by seed").column(0).to_pylist()
    return (
        _environment()
        .get_template("body.html.jinja")
        .render(
            title=TITLE,
            sections=SECTIONS,
            store=store.uri,
            made_at=datetime.now(UTC),
            best=answer.best_model(leaderboard),
            correlation=answer.correlation(answers.correlation),
            other_settings=[
                answer.best_elsewhere(cell_text.SETTINGS.get(setting, setting), found["leaderboard"].rows)
                for setting, found in answers.by_setting.items()
            ],
            slices=answers.slices,
            other_slices=answers.other_slices,
            asked=answers.asked,
            by_setting=answers.by_setting,
            grid=contents.grid(answers["scores_by_dataset"].rows, leaderboard),
            cheap_scores=[row for row in answers["cheap_scores"] if row["dataset"] == "mean over datasets"],
            recipes_known=[row for row in answers["regularization_study"] if row["difference"] is not None],
            some_lack=any(row["lacking"] for row in leaderboard),
            predicted=[row for row in answers["predicted_transfer"] if row["predicted"] is not None],
            setting_charts=[name for name in drawn if name.startswith("transfer@")],
            most_curves=MOST_CURVES,
            tuning_charts=[name for name in drawn if name.startswith("tuning-")],
            hard_images=list(contents.hard_images(answers["hardest_images"].rows, sources)),
            leak_counts=contents.leak_counts(database, answers["leaks"]),
            leak_pairs=list(contents.leak_pairs(answers["leaks"].rows, sources)),
            n_searched=len(answers["representations"].values("dataset")),
            few_shot=contents.few_shot(database, answers["few_shot_curves"]),
            speed=[row for row in answers["steps_to_reach"] if row["model"] is None],
            costs=contents.costs(database, answers["cost"]),
            statuses=Counter(row["status"] for row in answers["coverage"]),
            seeds=seeds,
            studies=list(contents.studies(store)),
            # vl-convert escapes the names inside, and the page is nothing but its output there
            charts={name: Markup(page_svg(chart)) for name, chart in drawn.items() if name != "accuracy_grid"},
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        readable=formats.readable, plural=cell_text.plural, fields=cell_text.fields, quoted=shlex.quote
    )
    environment.globals.update(
        cell_text=cell_text.cell_text,
        is_number=cell_text.is_number,
        is_long=cell_text.is_long,
        setting_names=cell_text.SETTINGS,
    )
    return environment
