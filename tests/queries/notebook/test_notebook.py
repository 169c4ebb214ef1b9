"""The module `probestore`: what a notebook gets from a store."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from given import THREE, Given, grid, model

import probestore
from featurestore.errors import QueryError, StoreError, UnknownNameError
from queries.notebook.open_store import OpenStore


@pytest.fixture
def opened(given: Given) -> OpenStore:
    """Three models on three datasets."""
    database = given(results=grid(THREE), models=[model("a", 0.8), model("b", 0.7), model("c<i>", None)])
    return probestore.open(database.uri)


def run_elsewhere(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_module_is_installed_and_light(tmp_path: Path) -> None:
    heavy = {"duckdb", "torch", "ray", "vl_convert", "pyarrow", "pandas"}
    code = f"import sys, probestore; print({heavy} & set(sys.modules))"
    assert run_elsewhere(code, tmp_path) == "set()"
    assert {name for name in vars(probestore) if not name.startswith("_")} - {"annotations"} == {
        "open", "Mapping", "TYPE_CHECKING"
    }  # fmt: skip
    assert probestore.__all__ == ["open"]


def test_a_question_is_answered_as_what_people_work_with(opened: OpenStore) -> None:
    answer = opened.query("leaderboard")
    assert {"rank", "model"} <= set(answer.arrow().column_names)
    assert [row["model"] for row in answer.rows()] == ["a", "b", "c"]
    assert list(answer.df()["model"]) == ["a", "b", "c"]
    assert answer.pl()["model"].to_list() == ["a", "b", "c"]
    assert len(answer) == 3
    assert answer.sql.startswith("-- Which models transfer best")
    assert repr(answer).startswith("<Answer: 3 rows of rank, ")


def test_parameters_sql_and_files_of_sql_are_taken(opened: OpenStore, tmp_path: Path) -> None:
    assert opened.query("leaderboard", setting="finetuned").rows() == []
    assert opened.sql("select count(*) as n from results").rows() == [{"n": 9}]
    (tmp_path / "mine.sql").write_text("select $n as n")
    assert opened.query(str(tmp_path / "mine.sql"), n=3).rows() == [{"n": 3}]
    assert {"question", "topic", "text"} == set(opened.questions().rows()[0])


def test_a_time_that_python_has_not_is_text_among_the_rows(opened: OpenStore) -> None:
    answer = opened.sql("select date '290000-01-01' as day, timestamp '2026-01-02' as time")
    assert answer.rows() == [{"day": "290000-01-01", "time": datetime(2026, 1, 2)}]


@pytest.mark.parametrize("suffix", ["csv", "md", "tex", "json", "txt", "parquet"])
def test_an_answer_is_saved_by_the_suffix_of_the_file(opened: OpenStore, tmp_path: Path, suffix: str) -> None:
    path = opened.query("leaderboard").save(tmp_path / f"a.{suffix}")
    if suffix == "parquet":
        assert pq.read_table(path).num_rows == 3
    else:
        assert "mean_logit" in path.read_text() or r"mean\_logit" in path.read_text()


def test_a_notebook_shows_a_table_in_which_names_are_text(opened: OpenStore) -> None:
    html = opened.sql("select model, imagenet_top1 from models order by model")._repr_html_()
    assert '<td style="text-align: left">c&lt;i&gt;</td>' in html
    assert ">0.8<" in html
    assert html.endswith("<p>3 rows</p>")
    many = opened.sql("select * from range(51)")._repr_html_()
    assert many.count("<tr>") == 51
    assert "51 rows, of which the first 50 are shown" in many


@pytest.mark.slow
def test_a_figure_is_drawn_and_saved(given: Given, tmp_path: Path) -> None:
    models = [model(name, 0.6 + i / 10) for i, name in enumerate(THREE)]
    figure = probestore.open(given(results=grid(THREE), models=models).uri).figure(1)
    assert figure.save(tmp_path / "a.svg").read_text().startswith("<svg")
    assert "<title>Figure 1</title>" in figure._repr_svg_()


def test_what_cannot_be_done_is_said(opened: OpenStore, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'leaderboard'"):
        opened.query("leaderbord")
    with pytest.raises(QueryError, match="must be one SELECT"):
        opened.sql("drop table results")
    with pytest.raises(QueryError, match=r"must end in one of .*Got 'a\.xlsx'"):
        opened.query("leaderboard").save(tmp_path / "a.xlsx")
    with pytest.raises(StoreError):
        probestore.open(str(tmp_path / "absent"))


@pytest.mark.parametrize(("package", "method"), [("polars", "pl"), ("pandas", "df")])
def test_a_missing_package_is_named_with_how_to_get_it(
    opened: OpenStore, monkeypatch: pytest.MonkeyPatch, package: str, method: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(QueryError, match=f"needs {package}, which is not installed. Run: pip install {package}"):
        getattr(opened.query("leaderboard"), method)()


@pytest.mark.slow
def test_a_store_that_nobody_closes_is_closed_without_a_warning(opened: OpenStore, tmp_path: Path) -> None:
    code = f"import probestore; store = probestore.open({opened.uri!r}); print(len(store.query('leaderboard')))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("3", "")


def test_a_closed_store_answers_no_more(opened: OpenStore) -> None:
    with opened:
        pass
    with pytest.raises(QueryError, match=r"was closed\. Open it again"):
        opened.query("leaderboard")
