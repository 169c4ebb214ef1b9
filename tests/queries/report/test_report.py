"""Report: one page that stands alone, says what is sure, and what to run where there is nothing."""

from __future__ import annotations

import base64
import csv
import io
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from given import cell, score
from given import model as model_record
from PIL import Image

from featurestore import FeatureStore, SampleSet
from featurestore.errors import QueryError, StoreError
from featurestore.images.decoding import content_id
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from queries.asking import questions
from queries.asking.database import Database
from queries.report import page_answers, render, sections, style, write_report
from queries.report.contents import all_sections, questions_with_parameters

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"

Row = dict[str, Any]


def build(uri: str, models: dict[str, float | None], datasets: Sequence[str], *, missing: str = "") -> FeatureStore:
    """A store in which every model but `missing` has a score on every dataset."""
    store = FeatureStore.create(uri)
    cells, results, tuning = [], [], []
    for i, name in enumerate(models):
        for j, dataset in enumerate(datasets):
            key = cell(name, dataset, solver="path") | {"cell": f"c{i}-{j}"}
            cells.append({**key, "study": "s", "train_key": "a", "val_key": "b", "test_key": "c", "wanted_at": NOW})
            if name == missing:
                continue
            value = 0.6 + 0.05 * i + 0.03 * j + 0.01 * (i * j % 3)
            fit = {"hyperparameter": "l2", "chosen": 0.1, "at_grid_edge": i == 0, "converged": True}
            results.append(score(name, dataset, value, standard_error=0.04, versions='{"duckdb": "1.5"}', **fit) | key)
            tried = {"hyperparameter": "l2", "metric": "top1"}
            tuning += [{**key, **tried, "value": l2, "validation": value - abs(l2 - 0.1)} for l2 in (0.0, 0.1, 0.2)]
    store.publish("cells", "s", rows_table("cells", cells))
    store.publish("results", "r", rows_table("results", results))
    store.publish("tuning", "t", rows_table("tuning", tuning))
    records = [model_record(name, top) | {"weights_digest": "sha256:abc"} for name, top in models.items()]
    store.publish("models", "m", rows_table("models", records))
    store.publish("datasets", "d", rows_table("datasets", [dataset_record(name) for name in datasets]))
    return store


def dataset_record(name: str, source: str = "image_folder:/x") -> Row:
    made = {"train_made": "2000 of 50000, stratified, seed 0", "val_made": "held out", "test_made": "the source's"}
    counts = {"n_classes": 2, "class_names": ["x", "y"], "n_train": 80, "n_val": 20, "n_test": 100}
    record = {"source": source, "metric": "top1", "multilabel": False, "fingerprint": "f", "recorded_at": NOW}
    return {"dataset": name, **made, **counts, **record}


class _Page(HTMLParser):
    """Collects what matters for a page that stands alone and can be read aloud."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.unscoped: list[str] = []
        self.unnamed: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(given)
        self.loads += [given[name] or "" for name in ("src", "href", "xlink:href", "srcset", "data") if name in given]
        if tag == "th" and "scope" not in given:
            self.unscoped.append(str(attrs))
        if tag == "img" and not given.get("alt"):
            self.unnamed.append(str(attrs))
        if "id" in given:
            self.ids.append(given["id"] or "")


def assert_stands_alone(text: str) -> None:
    page = _Page(text)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert all(target.startswith(("#", "data:text/csv;", "data:image/")) for target in page.loads)
    assert "url(" not in text
    assert "@import" not in text
    assert not {name for name in page.attributes if name == "style" or name.startswith("on")}
    assert not page.unscoped
    assert not page.unnamed
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.loads if target.startswith("#")} <= set(page.ids)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def report(store: FeatureStore, tmp_path: Path) -> str:
    return write_report(store.uri, tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of an empty store."""
    folder = tmp_path_factory.mktemp("empty")
    return report(FeatureStore.create(str(folder / "store")), folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that has something for every section, and its report."""
    folder = tmp_path_factory.mktemp("full")
    models, datasets = {f"model_{i}": 0.7 + i / 100 for i in range(5)}, [f"d{i:02}" for i in range(6)]
    store = build(str(folder / "store"), models, datasets)
    more = [score(name, "d00", 0.5 + 0.01 * i, setting="scratch") for i, name in enumerate(models)]
    more += [score("model_0", "d00", 0.55, n_per_class=5)]
    more += [score("model_0", "d00", 0.4 + 0.1 * i, setting="scratch", train_steps=76 * 2**i) for i in range(3)]
    published = [f"published_{i}" for i in range(4)]
    more += [score(name, d, 0.6 + i / 20, origin="paper") for i, name in enumerate(published) for d in datasets]
    more += [score("dropped", d, 0.7 + i / 100) for i, d in enumerate(datasets)]
    more += [score("dropped", d, 0.1, cell=f"former-{d}", model_key="former") for d in datasets]
    store.publish("results", "more", rows_table("results", more))
    records = [model_record(name, 0.7 + i / 50) | {"origin": "paper"} for i, name in enumerate(published)]
    plain = {"label_smoothing": 0.0, "dropout": 0.0, "auxiliary_head": False, "bn_scale": True, "architecture": "net"}
    plain |= {"augmentation": "flip", "pretraining_data": "imagenet"}
    records += [
        model_record("model_0", 0.7) | plain,
        model_record("dropped", 0.72) | plain | {"dropout": 0.2, "model_key": "now"},
    ]
    store.publish("models", "more", rows_table("models", records))
    report(store, folder)
    return folder


@pytest.mark.slow
def test_the_report_of_an_empty_store_says_what_to_run(empty: str) -> None:
    page = empty
    assert_stands_alone(page)
    assert "No model has been scored yet." in page
    for command in ("probestore demo", "probestore run STUDY", "probestore import results", "probestore analyse"):
        assert command in page
    assert "<svg" not in page
    assert "<table" not in page


def test_the_sections_are_in_the_order_in_which_one_asks(empty: str) -> None:
    order = [
        "transfer",
        "datasets",
        "leaderboard",
        "settings",
        "tuning",
        "recipes",
        "images",
        "leaks",
        "sanity",
        "cost",
        "run",
    ]
    assert [section.name for section in all_sections()] == order
    assert len({section.order for section in all_sections()}) == len(order)
    assert re.findall(r'<section id="(\w+)"', empty) == order


def test_a_section_is_two_files_of_one_folder_and_asks_questions_that_there_are(tmp_path: Path) -> None:
    folder = Path(sections.__file__).parent
    assert {path.name for path in folder.glob("*.jinja")} == {f"{one.name}.html.jinja" for one in all_sections()}
    assert set(questions_with_parameters()) <= set(questions.names())
    for section in all_sections():
        shown = set(re.findall(r"answers\.(\w+)", (folder / f"{section.name}.html.jinja").read_text()))
        assert shown <= set(section.questions), section.name


@pytest.mark.slow
def test_the_report_of_a_small_store_stands_alone_and_escapes_names(tmp_path: Path) -> None:
    models = {"plain": 0.7, HOSTILE: 0.75, "better": 0.78, "unknown": None, "torn": 0.8}
    store = build(str(tmp_path / "store"), models, ["d0", "d1", 'e"<b>'], missing="torn")
    failed = {"study": "s", "stage": "extract", "model": "torn", "error": "BackboneError", "message": "<b>no</b> x"}
    store.publish("failures", "f", rows_table("failures", [{**failed, "failed_at": NOW}]))
    image = {"sample_id": "s", "index": 0, "label": 0, "source": "<i>.png", "readable": False, "reason": "0 bytes"}
    item = SampleSet("d0", "train", "k")
    store.write_shard(item, 0, 1, pa.Table.from_pylist([image], schema=schema.SAMPLES))
    store.finish(item, 1, {})
    store.save_study("s", f'name = "{HOSTILE}"')

    page = write_report(store.uri, tmp_path / "sub" / "report.html", tmp_path / "charts", "svg").read_text()
    assert_stands_alone(page)
    assert not {"b", "i"} & set(_Page(page).tags)
    text = text_of(page)
    assert "of 4 models over 3 datasets" in text
    assert "over only 3 models, too few" in text
    assert "Of 15 results wanted, 12 are done, 3 failed and 0 are missing." in text
    for said in (
        "2000 of 50000, stratified, seed 0",
        "sha256:abc",
        "duckdb 1.5",
        "0 bytes",
        "no&lt;/b&gt; x",
        "s.toml",
    ):
        assert said in text
    assert sorted(path.name for path in (tmp_path / "charts").iterdir()) == sorted(
        [
            "accuracy_grid.svg", "leaderboard.svg", "transfer.svg", "transfer-d0.svg", "transfer-d1.svg",
            "transfer-e_b_-6cd5bf.svg", "tuning-d0.svg", "tuning-d1.svg", "tuning-e_b_-ed4448.svg",
        ]
    )  # fmt: skip
    assert not list(tmp_path.rglob("*.part*"))
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;: ImageNet top-1 75.0%, d1 69.0%</title>" in page


@pytest.mark.slow
def test_charts_whose_names_differ_in_other_characters_only_are_different_files(tmp_path: Path) -> None:
    names = ["a b", "a_b", "a?b", "花", "鳥"]
    store = build(str(tmp_path / "store"), {"m": 0.7, "n": 0.8, "o": 0.75}, names)
    write_report(store.uri, tmp_path / "report.html", tmp_path / "charts")
    files = [path.name for path in (tmp_path / "charts").glob("transfer-*")]
    assert len(files) == len(names)
    assert "transfer-a_b.svg" in files


@pytest.mark.parametrize("models", [{"only": 0.7}, {"a": None, "b": None}])
@pytest.mark.slow
def test_one_model_or_none_with_a_source_accuracy_is_enough(models: dict[str, float | None], tmp_path: Path) -> None:
    page = report(build(str(tmp_path / "store"), models, ["d0"]), tmp_path)
    assert_stands_alone(page)
    assert "takes at least three models" in page


@pytest.mark.slow
def test_of_two_solvers_the_grid_shows_the_later_as_the_leaderboard_does(tmp_path: Path) -> None:
    store = FeatureStore.create(str(tmp_path / "store"))
    later = datetime(2026, 2, 1, tzinfo=UTC)
    rows = [score("a", "d0", 0.6), score("a", "d0", 0.9, solver="sklearn", created_at=later)]
    store.publish("results", "r", rows_table("results", rows))
    (row,) = re.findall(r"<table class=\"dense\">.*?</table>", report(store, tmp_path), flags=re.DOTALL)
    assert "90.0" in row
    assert "75.0" not in row


@pytest.mark.slow
def test_a_warning_comes_first_and_names_the_command_that_shows_its_rows(tmp_path: Path) -> None:
    store = build(str(tmp_path / "my store"), {"a": 0.7}, ["d0", HOSTILE])
    assert re.findall(r'<section id="(\w+)"', report(store, tmp_path))[0] == "transfer"
    rows = [score("a", dataset, 0.6, n_test=9) for dataset in ("d0", HOSTILE)]
    store.publish("results", "r", rows_table("results", rows))
    page = report(store, tmp_path)
    assert_stands_alone(page)
    assert re.findall(r'<section id="(\w+)"', page)[0] == "sanity"
    (section,) = re.findall(r'<section id="sanity".*?</section>', page, flags=re.DOTALL)
    text = unescape(text_of(section))
    assert "2 warnings" in text
    assert "d0 : top1 was measured on 9 test images" in text
    for dataset in ("dataset=d0", f"'dataset={HOSTILE}'"):
        assert f"probestore query small_splits -p {dataset} --store '{store.uri}'" in text
    assert "2 remarks" in text


def test_every_section_shows_what_there_is(full: Path) -> None:
    page = (full / "report.html").read_text()
    assert_stands_alone(page)
    text = text_of(page)
    for caption in (
        "How strong the correlation is",
        "Where your models lie on the line of imported results",
        "Distance from the line",
        "The correlation without each model",
        "Every accuracy",
        "Two settings over all models and datasets",
        "What pretraining gains",
        "With few training images",
        "Training steps to 90% of the highest odds",
        "Can the fits be trusted?",
        "Same architecture, one difference in the recipe",
        "against the plain recipe of the same architecture",
        "Cost of each model",
    ):
        assert caption in text
    assert "dropout 0.0 → 0.2" in text
    assert "6 stored cells count in no number of this page" in text
    assert "6: weights or preprocessing" in text
    assert "No test image" not in text


def folds(page: str) -> Iterator[tuple[str, str, str]]:
    """(CSV, command, SQL) of everything that says where its numbers come from."""
    for fold in re.findall(r'<details class="how">.*?</details>', page, flags=re.DOTALL):
        found = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', fold)
        assert found
        command, *_, sql = (unescape(code) for code in re.findall(r"<code>(.*?)</code>", fold, flags=re.DOTALL))
        yield base64.b64decode(found[1]).decode(), command, sql


@pytest.mark.slow
def test_every_answer_can_be_asked_again_by_its_sql_and_taken_as_csv(full: Path) -> None:
    found = list(folds((full / "report.html").read_text()))
    assert len(found) > 15
    with Database(FeatureStore.open(str(full / "store"))) as database:
        for text, command, sql in found:
            rows = list(csv.reader(io.StringIO(text)))
            again = database.sql(sql)
            assert (rows[0], len(rows) - 1) == (again.column_names, again.num_rows), command
            assert command.startswith("probestore query ")
    assert any("-p setting=scratch --store" in command for _, command, _ in found)


def test_the_values_of_parameters_are_quoted() -> None:
    question = questions.describe("leaderboard")
    values = {"setting": "it's", "probe": "logistic", "tap": "$x", "n_per_class": 5}
    given = page_answers.PageAnswer(question, values, pa.table({}), "my store")
    assert "'it''s'" in given.sql
    assert "$" not in re.sub("--.*|'[^']*'", "", given.sql)
    assert given.command == (
        "probestore query leaderboard -p 'setting=it'\"'\"'s' -p 'tap=$x' -p n_per_class=5 --store 'my store'"
    )


@pytest.mark.slow
def test_the_body_is_for_pages_with_a_head_of_their_own_and_leaves_out_what_is_too_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(page_answers, "MOST_ROWS_TO_DOWNLOAD", 1)
    store = build(str(tmp_path / "store"), {"a": 0.7, "b": 0.8}, ["d0"])
    with Database(store) as database:
        body = render(store, database)
    assert_stands_alone(body)
    assert "<html" not in body
    assert "<style" not in body
    assert "too many for this page: add <code>--format csv --out leaderboard.csv</code>" in body
    assert "--ink" in style()


@pytest.mark.slow
def test_hard_images_and_leaks_are_shown_with_their_pictures(tmp_path: Path) -> None:
    store = FeatureStore.create(str(tmp_path / "store"))
    samples = {}
    for split, names in {"train": ["a", "b"], "test": ["copy of a", "c", "gone"]}.items():
        folder = tmp_path / "images" / split / "cats"
        folder.mkdir(parents=True)
        for name in names:
            colour = sum(name.removeprefix("copy of ").encode())
            Image.new("RGB", (80, 80), (colour % 256, 0, 0)).save(folder / f"{name}.png")
        samples[split] = [
            {"sample_id": content_id(path.read_bytes()), "index": i, "label": 0, "label_name": "cats", "readable": True}
            | {"source": f"{split}/cats/{path.name}", "width": 80, "height": 80}
            for i, path in enumerate(sorted(folder.iterdir()))
        ]
        item = SampleSet("d0", split, "k")
        store.write_shard(item, 0, 1, pa.Table.from_pylist(samples[split], schema=schema.SAMPLES))
        store.finish(item, 1, {})
    (tmp_path / "images" / "test" / "cats" / "gone.png").unlink()
    record = dataset_record("d0", f"image_folder:{tmp_path / 'images'}") | {"class_names": ["cats", "dogs"]}
    store.publish("datasets", "d", rows_table("datasets", [record]))
    store.publish("results", "r", rows_table("results", [score("m", "d0", 0.0, n_test=3)]))
    said = {"label": 0, "predicted": 1, "probability": 0.2, "top5": [1, 0], "scores": [0.2, 0.8]}
    rows = [cell("m", "d0") | {name: row[name] for name in ("sample_id", "index")} | said for row in samples["test"]]
    store.publish("predictions", "p", rows_table("predictions", rows))

    page = report(store, tmp_path)
    assert_stands_alone(page)
    images, leaks = (
        page[page.index(f'<section id="{name}"') :].partition("</section>")[0] for name in ("images", "leaks")
    )
    assert images.count('src="data:image/jpeg') == 2
    assert "cats , taken for dogs 1 of 1 model wrong" in text_of(images)
    assert "test/cats/gone.png Not shown:" in text_of(images)
    assert leaks.count('src="data:image/jpeg') == 2
    assert "d0 1 0 33.3 0" in text_of(leaks)
    assert "exact copy" in leaks
    assert "probestore analyse" in leaks


@pytest.mark.slow
def test_classes_whose_names_are_not_known_are_shown_by_their_index(tmp_path: Path) -> None:
    store = FeatureStore.create(str(tmp_path / "store"))
    store.publish("results", "r", rows_table("results", [score("m", "d0", 0.0, n_test=1)]))
    said = {"sample_id": "x", "index": 0, "label": 0, "predicted": 1, "top5": [1], "scores": [0.2, 0.8]}
    store.publish("predictions", "p", rows_table("predictions", [cell("m", "d0") | said]))
    page = report(store, tmp_path)
    images = page[page.index('<section id="images"') :].partition("</section>")[0]
    assert "class 0 , taken for class 1 1 of 1 model wrong" in text_of(images)


@pytest.mark.slow
def test_the_first_lines_of_the_published_grid_are_its_findings(paper: Database, tmp_path: Path) -> None:
    page = report(FeatureStore.open(paper.uri), tmp_path)
    assert_stands_alone(page)
    first = text_of(page[page.index("<h1") : page.index("<nav")])
    assert "Use Inception-ResNet v2 or NASNet-A Large" in first
    assert "rank 1, 95% interval 1 to 2" in first
    assert "r = 0.99 over 16 models" in first
    assert "Fine-tuned, the best is Inception v4 (mean" in first
    assert "not told apart from Inception v3" in first
    text = text_of(page)
    assert "fine-tuned fixed features 192 178" in text
    assert page.count("<svg") >= 12 + 3 + 2


@pytest.mark.slow
def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no store"):
        write_report(str(tmp_path / "nowhere"), tmp_path / "report.html")
    FeatureStore.create(str(tmp_path / "store"))
    (tmp_path / "file").touch()
    with pytest.raises(QueryError, match="Cannot write the report"):
        write_report(str(tmp_path / "store"), tmp_path / "file" / "report.html")
    with pytest.raises(QueryError, match=r"must be one of svg, png\. Got 'gif'"):
        write_report(str(tmp_path / "store"), tmp_path / "report.html", charts_format="gif")


# ---- in a browser -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium to open the page with")
def test_a_browser_opens_it_from_disk_gives_the_csv_and_complains_of_nothing(full: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto((full / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        answer = page.locator(".answer").first.bounding_box()
        assert answer is not None
        assert answer["y"] + answer["height"] < 844
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        fold = page.locator("details.how", has_text="leaderboard").first
        fold.locator("summary").click()
        with page.expect_download() as download:
            fold.locator("a[download]").click()
        assert download.value.suggested_filename == "leaderboard.csv"
        assert Path(download.value.path()).read_text().startswith("rank,")
        assert said == []
        browser.close()
