"""The picture of the README: the charts of a report as one SVG."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from given import THREE, Given, grid, model
from locations import ROOT

from featurestore import FeatureStore
from featurestore.errors import QueryError
from queries.report.picture import write_picture


@pytest.mark.slow
def test_the_picture_has_the_answer_and_three_charts_on_white(given: Given, tmp_path: Path) -> None:
    store = FeatureStore.open(given(results=grid(THREE), models=[model(name, 0.7) for name in THREE]).uri)
    write_picture(store, tmp_path / "made" / "picture.svg")
    svg = (tmp_path / "made" / "picture.svg").read_text()
    assert all(
        text in svg for text in ("Use a", ">ImageNet top-1<", ">Log-odds above the mean of the models<", ">90.0<")
    )
    assert "currentColor" not in svg


@pytest.mark.slow
def test_a_store_without_scores_has_no_picture(given: Given, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"nothing to draw in the chart 'transfer'\. .*probestore demo"):
        write_picture(FeatureStore.open(given().uri), tmp_path / "picture.svg")
    assert not list(tmp_path.glob("picture*"))


def test_the_picture_of_the_readme_is_made_by_a_command_and_small() -> None:
    done = subprocess.run(["make", "--dry-run", "picture"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "queries.report.picture demo-store .github/report.svg" in done.stdout
    assert 0 < (ROOT / ".github" / "report.svg").stat().st_size < 150_000
