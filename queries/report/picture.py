"""The picture of the report in the README: its main charts as one SVG on white, under the answer in words.

``python -m queries.report.picture STORE OUT.svg`` draws it; ``make picture`` draws that of the demo.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from featurestore import FeatureStore
from featurestore.errors import QueryError
from featurestore.written_whole import written_whole
from queries.asking import findings_in_words
from queries.asking.database import Database
from queries.drawing.theme import PAGE
from queries.drawing.vega_lite import Spec, to_svg
from queries.report.contents import draw, questions_with_parameters
from queries.report.page_answers import PageAnswers, ask

_LETTERS = 105  # in a line
_INK = "#1c1f23"  # a picture is not part of a page whose colour it could take


def write_picture(store: FeatureStore, out: Path) -> None:
    """Draw the picture of a store's report.

    Parameters
    ----------
    store : FeatureStore
    out : Path
        The SVG file; it appears whole or not at all.

    Raises
    ------
    QueryError
        If the store has no scores of models with a known ImageNet accuracy, or cannot be read.
    """
    with Database(store) as database:
        answers = ask(database, questions_with_parameters())
    svg = to_svg(_picture(answers)).replace("currentColor", _INK)
    with written_whole(out) as staged:
        staged.write_text(svg, encoding="utf-8")


def _picture(answers: PageAnswers) -> Spec:
    drawn = dict(draw(answers))
    scatter, board, grid = (_inside(drawn, name) for name in ("transfer", "leaderboard", "accuracy_grid"))
    sentences = (
        findings_in_words.best_model(answers["leaderboard"].rows),
        findings_in_words.correlation(answers.correlation),
    )
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, _LETTERS)]
    return {
        "config": PAGE.config,
        "background": "white",
        "padding": 14,
        "title": {"text": lines, "fontSize": 14, "fontWeight": "normal", "lineHeight": 20, "offset": 16},
        "hconcat": [scatter, {"vconcat": [board, grid], "spacing": 20}],
        "spacing": 50,
    }


def _inside(drawn: Mapping[str, Spec], name: str) -> Spec:
    """Return a chart as a part of another, which has the look of both."""
    if name not in drawn:
        raise QueryError(f"The store has nothing to draw in the chart {name!r}. Make the demo's: probestore demo")
    return {key: value for key, value in drawn[name].items() if key != "config"}


if __name__ == "__main__":
    write_picture(FeatureStore.open(sys.argv[1]), Path(sys.argv[2]))
