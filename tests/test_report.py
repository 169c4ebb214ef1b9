"""Report: one page that stands alone, says what is sure, and what to run where there is nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore, SampleSet, schema
from featurestore.errors import QueryError, StoreError
from featurestore.store import rows_table
from queries import answer
from queries.report import write_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"

Row = dict[str, Any]


def build(uri: str, models: dict[str, float | None], datasets: Sequence[str], *, missing: str = "") -> None:
    """A store in which every model but `missing` has a score on every dataset."""
    store = FeatureStore.create(uri)
    cells, results, tuning = [], [], []
    for i, name in enumerate(models):
        for j, dataset in enumerate(datasets):
            cell = {"cell": f"c{i}-{j}", "model": name, "dataset": dataset, "setting": "fixed", "tap": "penultimate"}
            cell |= {"probe": "logistic", "solver": "path", "seed": 0}
            cells.append({**cell, "study": "s", "train_key": "a", "val_key": "b", "test_key": "c", "wanted_at": NOW})
            if name == missing:
                continue
            value = 0.6 + 0.05 * i + 0.03 * j + 0.01 * (i * j % 3)
            fit = {"hyperparameter": "l2", "chosen": 0.1, "at_grid_edge": i == 0, "converged": True, "seconds": 1.0}
            counts = {"n_train": 80, "n_val": 20, "n_test": 100, "versions": '{"duckdb": "1.5"}', "created_at": NOW}
            score = {"metric": "top1", "headline": True, "value": value, "standard_error": 0.04}
            results.append({**cell, **score, **fit, **counts})
            tried = {"hyperparameter": "l2", "metric": "top1"}
            tuning += [{**cell, **tried, "value": l2, "validation": value - abs(l2 - 0.1)} for l2 in (0.0, 0.1, 0.2)]
    store.publish("cells", "s", rows_table("cells", cells))
    store.publish("results", "r", rows_table("results", results))
    store.publish("tuning", "t", rows_table("tuning", tuning))
    store.publish("models", "m", rows_table("models", [model(name, top) for name, top in models.items()]))
    store.publish("datasets", "d", rows_table("datasets", [dataset_record(name) for name in datasets]))


def model(name: str, top: float | None) -> Row:
    record = {"backbone": "timm:x", "weights": "pretrained", "weights_digest": "sha256:abc", "recorded_at": NOW}
    return {"model": name, "imagenet_top1": top, "preprocessing": '{"resize": "squash"}', **record}


def dataset_record(name: str) -> Row:
    made = {"train_made": "2000 of 50000, stratified, seed 0", "val_made": "held out", "test_made": "the source's"}
    counts = {"n_classes": 2, "class_names": ["x", "y"], "n_train": 80, "n_val": 20, "n_test": 100}
    record = {
        "source": "image_folder:/x",
        "metric": "top1",
        "multilabel": False,
        "fingerprint": "f",
        "recorded_at": NOW,
    }
    return {"dataset": name, **made, **counts, **record}


class _Page(HTMLParser):
    """Collects what matters for a page that stands alone and can be read aloud."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.unscoped: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [given[name] or "" for name in ("src", "href", "xlink:href", "srcset", "data") if name in given]
        if tag == "th" and "scope" not in given:
            self.unscoped.append(str(attrs))
        if "id" in given:
            self.ids.append(given["id"] or "")


def assert_stands_alone(text: str) -> None:
    page = _Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(page.tags)
    assert all(target.startswith("#") for target in page.loads)
    assert "url(" not in text
    assert "@import" not in text
    assert not page.unscoped
    assert page.tags.count("caption") == page.tags.count("table")
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.loads} <= set(page.ids)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_report_of_an_empty_store_says_what_to_run(tmp_path: Path) -> None:
    FeatureStore.create(str(tmp_path / "store"))
    page = write_report(str(tmp_path / "store"), tmp_path / "report.html").read_text()
    assert_stands_alone(page)
    assert "No model has been scored yet." in page
    assert "probestore demo" in page
    assert "probestore run STUDY" in page
    assert "<svg" not in page


def test_the_report_of_a_small_store_stands_alone_and_escapes_names(tmp_path: Path) -> None:
    models = {"plain": 0.7, HOSTILE: 0.75, "better": 0.78, "unknown": None, "torn": 0.8}
    build(str(tmp_path / "store"), models, ["d0", "d1", 'e"<b>'], missing="torn")
    store = FeatureStore.open(str(tmp_path / "store"))
    failed = {
        "study": "s",
        "stage": "extract",
        "model": "torn",
        "error": "BackboneError",
        "message": "<b>no</b> weights",
    }
    store.publish("failures", "f", rows_table("failures", [{**failed, "failed_at": NOW}]))
    image = {"sample_id": "s", "index": 0, "label": 0, "source": "<i>.png", "readable": False, "reason": "0 bytes"}
    item = SampleSet("d0", "train", "k")
    store.write_shard(item, 0, 1, pa.Table.from_pylist([image], schema=schema.SAMPLES))
    store.finish(item, 1, {})

    page = write_report(store.uri, tmp_path / "sub" / "report.html", tmp_path / "charts", "svg").read_text()
    assert_stands_alone(page)
    assert not {"b", "i"} & set(_Page(page).tags)
    text = text_of(page)
    assert "transfers best of 4 models over 3 datasets" in text or "scores highest of 4 models over 3 datasets" in text
    assert "over only 3 models, too few" in text
    assert "Of 15 results wanted, 12 are done, 3 failed and 0 are missing." in text
    for said in ("2000 of 50000, stratified, seed 0", "sha256:abc", "duckdb 1.5", "0 bytes", "no&lt;/b&gt; weights"):
        assert said in text
    assert "12 fits: 3 chose a value at an end of the grid" in text
    assert sorted(path.name for path in (tmp_path / "charts").iterdir()) == sorted(
        [
            "accuracy_grid.svg", "leaderboard.svg", "transfer.svg", "transfer-d0.svg", "transfer-d1.svg",
            "transfer-e_b_.svg", "tuning-d0.svg", "tuning-d1.svg", "tuning-e_b_.svg",
        ]
    )  # fmt: skip
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("models", [{"only": 0.7}, {"a": None, "b": None}])
def test_one_model_or_none_with_a_source_accuracy_is_enough(models: dict[str, float | None], tmp_path: Path) -> None:
    build(str(tmp_path / "store"), models, ["d0"])
    page = write_report(str(tmp_path / "store"), tmp_path / "report.html").read_text()
    assert_stands_alone(page)
    assert "takes at least three models" in page


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no store"):
        write_report(str(tmp_path / "nowhere"), tmp_path / "report.html")
    FeatureStore.create(str(tmp_path / "store"))
    (tmp_path / "file").touch()
    with pytest.raises(QueryError, match="Cannot write the report"):
        write_report(str(tmp_path / "store"), tmp_path / "file" / "report.html")
    with pytest.raises(QueryError, match=r"must be one of svg, png\. Got 'gif'"):
        write_report(str(tmp_path / "store"), tmp_path / "report.html", charts_format="gif")


# ---- the two sentences ------------------------------------------------------------------------------------------


def place(name: str, **changes: object) -> Row:
    row: Row = dict.fromkeys(("behind_best", "behind_low", "behind_high"))
    return row | {"model": name, "rank": 1, "mean_value": 0.8, "n_datasets": 3, "ties_with_best": True} | changes


def test_a_clear_winner_is_named_with_its_odds() -> None:
    second = place("b", ties_with_best=False, behind_best=0.6931, behind_low=0.4055, behind_high=1.0986)
    said = answer.best_model([place("a"), second])
    assert said == (
        "a transfers best of 2 models over 3 datasets (mean accuracy 80.0%): the odds that it is right are 2.00 times "
        "those of the next, b (paired 95% interval 1.50 to 3.00)."
    )


def test_ties_are_admitted() -> None:
    assert "do not tell it apart from b and c (" in answer.best_model([place("a"), place("b"), place("c")])
    many = [place(name) for name in "abcdefg"]
    assert "apart from b, c, d and 3 more (" in answer.best_model(many)


def test_one_dataset_is_no_evidence_about_others() -> None:
    assert "on one dataset only" in answer.best_model([place("a", n_datasets=1), place("b", n_datasets=1)])


def found(**changes: object) -> Row:
    return {"n_models": 5, "r": 0.8, "fisher_low": 0.1, "fisher_high": 0.9} | changes


def test_a_correlation_is_only_claimed_when_its_interval_leaves_out_zero() -> None:
    assert "over only 5 models (95% interval 0.10 to 0.90): models that are better on ImageNet transfer better." in (
        answer.correlation(found())
    )
    assert "transfer worse" in answer.correlation(found(r=-0.8, fisher_low=-0.9, fisher_high=-0.1))
    assert "cannot be told from no correlation" in answer.correlation(found(fisher_low=-0.2))
    assert "too few" in answer.correlation(found(n_models=3, fisher_low=None))
    assert "do not differ enough" in answer.correlation(found(r=None))
    assert "here there are 2" in answer.correlation(found(n_models=2))
