"""The page: the templates filled with answers, charts and pictures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from featurestore.plain_text import shell_command, visible
from queries.asking import findings_in_words, formats
from queries.asking.setting_names import setting_in_words
from queries.drawing.vega_lite import Spec
from queries.report import cell_text
from queries.report.contents import all_sections
from queries.report.page_svg import page_svg
from queries.report.section import Material

TITLE = "Which model should I use?"

_TEMPLATES = Path(__file__).parent / "templates"
_SECTIONS = Path(__file__).parent / "sections"


def style() -> str:
    """Return the style sheet, the text of one <style> element."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


def whole_page(body: str) -> str:
    """Return the whole file: `body` below a head that forbids to load or run anything."""
    css = style()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    template = _environment().get_template("page.html.jinja")
    return template.render(title=TITLE, style=Markup(css), style_digest=digest, body=Markup(body))


def page_body(material: Material, drawn: Mapping[str, Spec]) -> str:
    """Return the inside of <body>."""
    answers = material.answers
    # vl-convert escapes the names inside, and the page is nothing but its output there
    environment = _environment(
        svg=lambda name: Markup(page_svg(drawn[name])), charts=drawn, answers=answers.by_question
    )
    sections = sorted(all_sections(), key=lambda section: not section.comes_first(answers))
    inside = {
        section.name: Markup(environment.get_template(f"{section.name}.html.jinja").render(section.shown(material)))
        for section in sections
    }
    return environment.get_template("body.html.jinja").render(
        title=TITLE,
        sections=sections,
        inside=inside,
        best=findings_in_words.best_model(answers["leaderboard"].rows),
        correlation=findings_in_words.correlation(answers.correlation),
        other_settings=[
            findings_in_words.best_elsewhere(setting_in_words(setting), found["leaderboard"].rows)
            for setting, found in answers.by_setting.items()
        ],
        slices=answers.slices,
        other_slices=answers.other_slices,
    )


def shown(value: Any) -> Any:
    """Return a value with nothing in it that turns a text around or that HTML lacks; what is HTML already stays."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\t".join(map(visible, value.split("\t")))  # tabs of a study file are its own


def _environment(**names: object) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_TEMPLATES, _SECTIONS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters.update(readable=formats.readable, plural=cell_text.plural, fields=cell_text.fields)
    environment.globals.update(
        cell_text=cell_text.cell_text,
        is_number=cell_text.is_number,
        is_long=cell_text.is_long,
        setting_in_words=setting_in_words,
        shell_command=shell_command,
        **names,
    )
    return environment
