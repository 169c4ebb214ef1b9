"""The paper's figures: what they show, their size in print, and what is said when rows are missing."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from given import NOW, THREE, Given, Row, grid, logit, model, score

from cluster.cli import main
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import ConfigurationError, QueryError, UnknownNameError
from featurestore.store import schema
from queries.asking.database import Database
from queries.drawing.figures.arrange import panel_width
from queries.drawing.figures.catalogue import FIGURES, draw
from queries.drawing.figures.choice import Choice
from queries.drawing.figures.figure import Figure
from queries.drawing.vega_lite import log_ticks


def texts(figure: Figure) -> list[str]:
    return re.findall(r">([^<>]+)</(?:text|tspan)>", figure.svg)


def in_settings(values: dict[str, list[float]], *settings: str) -> list[Row]:
    return [row | {"setting": s, "cell": f"{s}/{row['cell']}"} for s in settings for row in grid(values)]


def three_models() -> list[Row]:
    return [model(name, 0.6 + i / 10) for i, name in enumerate(THREE)]


# ---- the published grid ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figure_1_of_the_paper_has_its_two_panels_all_names_and_both_r(paper: Database) -> None:
    figure = draw(1, paper)
    written = texts(figure)
    assert {"Fixed features", "Fine-tuned", "r = 0.99", "r = 0.96", "ImageNet top-1"} <= set(written)
    for name in set(figure.data["model"].to_pylist()):
        assert written.count(name) == 2, name
    assert 'width="174.00mm"' in figure.svg
    assert figure.notes == ()


@pytest.mark.slow
def test_figure_2_of_the_paper_has_39_panels_and_the_published_ties(paper: Database) -> None:
    figure = draw(2, paper)
    rows = figure.data.to_pylist()
    assert len({(row["setting"], row["panel"]) for row in rows}) == 39
    assert len(rows) == 39 * 16
    assert {"r = 0.99", "r = 0.96", "r = 0.55"} <= set(texts(figure))
    best = {
        setting: {
            row["model"]
            for row in rows
            if row["setting"] == setting and row["panel"] == "mean over datasets" and row["ties_with_best"]
        }
        for setting in schema.SETTINGS
    }
    assert best == {
        "fixed": {"Inception-ResNet v2", "NASNet-A Large"},
        "finetuned": {"Inception v4"},
        "scratch": {"Inception v4", "Inception v3"},
    }


def test_figure_6_of_the_paper_has_every_model_in_every_setting(paper: Database) -> None:
    figure = draw(6, paper)
    rows = figure.data.to_pylist()
    assert sum(row["model"] is None for row in rows) == 36
    assert sum(row["model"] is not None for row in rows) == 3 * 192
    assert "Food-101" in texts(figure)


def test_figure_7_of_the_paper_has_192_points_of_which_189_are_above_the_line(paper: Database) -> None:
    figure = draw(7, paper)
    assert figure.data.num_rows == 192
    assert "above in 189 of 192" in figure.caption
    assert 'width="84.00mm"' in figure.svg


# ---- given rows -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_figure_with_one_setting_draws_it_and_says_what_is_missing(given: Given) -> None:
    database = given(results=grid(THREE), models=three_models())
    for number in (1, 2, 6):
        figure = draw(number, database)
        note = figure.notes[0]
        assert "fine-tuned" in note
        assert "probestore import results" in note
        assert figure.data.num_rows


def test_figure_6_has_a_line_where_a_value_published_before_is_known(given: Given) -> None:
    described = [
        {"dataset": d, "best_known": best, "recorded_at": NOW} for d, best in (("d0", 0.97), ("elsewhere", 0.5))
    ]
    figure = draw(6, given(results=grid(THREE), datasets=described))
    (line,) = [row for row in figure.data.to_pylist() if row["setting"] == "best known"]
    assert (line["dataset"], line["value"], line["logit"]) == ("d0", 0.97, pytest.approx(logit(0.97)))
    assert figure.svg.count("stroke-dasharray") == 1
    assert "Dashed: the best value published before." in figure.caption
    assert "--datasets FILE.csv" in figure.notes[-1]


def test_the_mean_of_figure_6_counts_models_that_have_every_setting(given: Given) -> None:
    results = [*in_settings(THREE, "fixed", "finetuned"), score("only_fixed", "d0", 0.99)]
    rows = draw(6, given(results=results)).data.to_pylist()
    (mean,) = [row for row in rows if (row["dataset"], row["setting"], row["model"]) == ("d0", "fixed", None)]
    expected = [logit(values[0]) for values in THREE.values()]
    assert mean["logit"] == pytest.approx(np.mean(expected))
    assert mean["standard_error"] == pytest.approx(np.std(expected, ddof=1) / math.sqrt(3))
    assert "only_fixed" not in {row["model"] for row in rows}


def test_regularisers_are_drawn_as_a_line_per_architecture(given: Given) -> None:
    choices = {"architecture": "inception", "dropout": 0.0, "auxiliary_head": False, "label_smoothing": 0.0}
    models = [
        {**model("a", 0.7), **choices, "bn_scale": True},
        {**model("b", 0.71), **choices, "bn_scale": False},
        {**model("c", None), **choices, "bn_scale": True, "dropout": 0.5},
    ]
    database = given(results=in_settings(THREE, "fixed", "finetuned"), models=models)
    for number in (3, 5):
        figure = draw(number, database)
        assert {"−BN", "+DO", "inception", "Transfer", "Source"} <= set(texts(figure))
        assert figure.data["departures"].to_pylist() == [1, 1, 0]


def test_training_curves_have_steps_below_and_epochs_above(given: Given) -> None:
    results = [
        score("a", "d", 0.5 + k / 20, setting=setting, n_train=900, n_val=100, train_steps=10**k, cell=f"{setting}{k}")
        for setting in ("finetuned", "scratch")
        for k in range(1, 5)
    ]
    written = texts(draw(8, given(results=results)))
    assert {"Training steps", "Epochs", "fine-tuned", "trained from scratch", "10k"} <= set(written)


def test_few_shot_curves_are_of_the_model_with_most_points_or_of_the_one_asked_for(given: Given) -> None:
    results = [
        score(name, "d", 0.4 + n / 20 + seed / 100, n_per_class=n, seed=seed)
        for name, counts in {"a": (1, 2), "b": (1, 2, 4)}.items()
        for n in counts
        for seed in (0, 1)
    ]
    database = given(results=results)
    assert set(draw(9, database).data["model"].to_pylist()) == {"b"}
    assert set(draw(9, database, Choice(models=("a",))).data["n_per_class"].to_pylist()) == {1, 2}
    with pytest.raises(UnknownNameError, match=r"Unknown model 'c'.*With such curves: a, b"):
        draw(9, database, Choice(models=("c",)))
    with pytest.raises(UnknownNameError, match=r"Unknown dataset 'e'.*b has: d"):
        draw(9, database, Choice(dataset="e"))


@pytest.fixture
def with_features(tmp_path: Path) -> Iterator[Database]:
    """Features of forty test images in four classes by two models."""
    store = FeatureStore.create(str(tmp_path / "store"))
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        vectors = np.repeat(np.eye(4), 10, axis=0) * 5 + rng.normal(size=(40, 4))
        rows = [
            {"sample_id": str(i), "index": i, "label": i // 10, "feature": vector.astype(np.float32)}
            for i, vector in enumerate(vectors)
        ]
        item = FeatureSet(name, "pets", "test", "key")
        store.write_shard(item, 0, 1, pa.Table.from_pylist(rows, schema=schema.features(pa.float32(), 4)))
        store.finish(item, 1, {})
    with Database(store) as database:
        yield database


def test_features_of_two_models_are_embedded_the_same_way_every_time(with_features: Database) -> None:
    choice = Choice(dataset="pets", models=("a", "b"))
    figure = draw(4, with_features, choice)
    assert figure.data.num_rows == 80
    assert {"a", "b", "0", "3"} <= set(texts(figure))
    assert figure.data.equals(draw(4, with_features, choice).data)


def test_figure_4_names_the_models_that_there_are(with_features: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"needs two models: --model A --model B\. Got 0\..*pets: a, b"):
        draw(4, with_features)
    with pytest.raises(UnknownNameError, match=r"Unknown model 'c'.*pets: a, b"):
        draw(4, with_features, Choice(models=("a", "c")))
    with pytest.raises(UnknownNameError, match="Unknown dataset 'pet'. Did you mean 'pets'"):
        draw(4, with_features, Choice(dataset="pet"))
    with pytest.raises(QueryError, match="at the tap 'pooled'.*probestore run"):
        draw(4, with_features, Choice(tap="pooled", models=("a", "b")))


@pytest.mark.parametrize("number", FIGURES)
@pytest.mark.slow
def test_a_figure_of_an_empty_store_says_what_is_missing_and_how_to_get_it(given: Given, number: int) -> None:
    with pytest.raises(QueryError, match=rf"Figure {number} needs .*, and the store has none\. .*probestore \w+ "):
        draw(number, given())


@pytest.mark.parametrize("number", [1, 2, 6])
@pytest.mark.slow
def test_one_model_on_one_dataset_is_drawn(given: Given, number: int) -> None:
    figure = draw(number, given(results=[score("a", "d", 0.5)], models=[model("a", 0.7)]))
    assert "NaN" not in figure.svg
    assert not [text for text in texts(figure) if re.match(r"r = -?\d", text)]


def test_names_are_text_in_a_figure(given: Given) -> None:
    name = "<script>alert('x')</script>"
    figure = draw(1, given(results=[score(name, "d", 0.5)], models=[model(name, 0.7)]))
    assert "<script" not in figure.svg


def test_unknown_figures_are_refused(given: Given) -> None:
    with pytest.raises(QueryError, match=r"one of 1 to 9\. Got 10"):
        draw(10, given())


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_writes_all_formats_in_their_size_and_the_data(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = given(results=in_settings(THREE, "fixed", "finetuned"), models=three_models()).uri
    for form in ("svg", "pdf", "png"):
        arguments = ["--store", uri, "--out", tmp_path / f"f.{form}", "--data", tmp_path / "f.csv"]
        monkeypatch.setattr(sys, "argv", ["probestore", "figure", "1", *map(str, arguments)])
        main()
    assert "Transfer against ImageNet top-1" in capsys.readouterr().err
    assert 'width="174.00mm"' in (tmp_path / "f.svg").read_text()
    pdf = (tmp_path / "f.pdf").read_bytes()
    box: Any = re.search(rb"MediaBox \[0 0 ([\d.]+) ", pdf)
    assert float(box[1]) == pytest.approx(174 / 25.4 * 72, abs=0.1)
    png = (tmp_path / "f.png").read_bytes()
    assert int.from_bytes(png[16:20]) == pytest.approx(174 / 25.4 * 600, abs=1)
    assert (tmp_path / "f.csv").read_text().startswith("setting,panel,model,source_value,")


def test_other_files_are_refused(given: Given, tmp_path: Path) -> None:
    figure = draw(6, given(results=grid(THREE)))
    with pytest.raises(QueryError, match=r"must end in \.svg, \.pdf or \.png\. Got 'f\.jpg'"):
        figure.save(tmp_path / "f.jpg")
    with pytest.raises(QueryError, match=r"Cannot write .*No such file"):
        figure.save(tmp_path / "absent" / "f.svg")


def test_panels_fill_the_width_and_ticks_are_few() -> None:
    assert panel_width(2, spacing=10, beside=20, millimetres=25.4) == pytest.approx((72 - 30) / 2)
    assert log_ticks([76, 78125], 10, most=5) == pytest.approx([10, 100, 1000, 10**4, 10**5])
    assert log_ticks([1, 64], 2, most=5) == pytest.approx([1, 4, 16, 64])
