"""Questions of the topic sanity: one store whose datasets have a fault each, and nothing is said of the sound one."""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from given import NOW, Given, Row, grid, model, score
from tiny import save_images

from featurestore import FeatureStore, SampleSet
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images.splits import Dataset
from featurestore.plain_text import shell_command
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from queries.asking import questions
from queries.asking.database import Database, scripts

CLASSES = ["ant", "bee", "cat"]
SIZES = {"train": 60, "val": 30, "test": 60}
TOLD = {  # dataset -> the checks that are to say something of it, with their severity
    "constant": {"constant_features": "warning"},
    "nearly": {"constant_features": "warning"},
    "partly": {"constant_features": "warning"},
    "saturated": {"flat_tuning": "warning"},
    "guessed": {"at_chance": "warning"},
    "shifted": {"validation_gap": "warning"},
    "contradicted": {"conflicting_labels": "warning"},
    "copied": {"leaks": "warning", "repeated_images": "remark"},
    "lacking": {"missing_classes": "warning"},
    "broken": {"unreadable_by_class": "warning", "missing_classes": "warning"},
    "scratched": {"unreadable_by_class": "remark"},
    "tiny": {"small_splits": "warning"},
    "turned": {"turned_images": "remark"},
    "divided": {"made_splits": "remark"},
    "sifted": {"dataset_notes": "remark"},
}


FEW = {"all right": 1.0, "half right": 0.5}


def images(dataset: str, split: str) -> list[Row]:
    """Images of which nothing is odd."""
    return [
        {"sample_id": f"{dataset}-{split}-{i}", "index": i, "label": i % 3, "label_name": CLASSES[i % 3]}
        | {"source": f"{split}/{i}.png", "readable": True, "orientation": 1 if i % 2 else None}
        for i in range(SIZES[split])
    ]


def described(dataset: str) -> Row:
    """The record of a dataset whose makers made its splits."""
    made = {f"{split}_made": f"all {n} {split} images of the source" for split, n in SIZES.items()}
    sizes = {f"n_{split}": n for split, n in SIZES.items()}
    record = {"dataset": dataset, "n_classes": 3, "class_names": CLASSES, "metric": "top1", "recorded_at": NOW}
    return record | sizes | made


def fitted(dataset: str, **changes: object) -> Row:
    """A result of which nothing is odd."""
    likeness = {"feature_spread": [0.4, 0.5, 0.4], "equal_features": [0.0, 0.0, 0.1]}
    fit = {"n_train": 60, "n_val": 30, "n_test": 60, "hyperparameter": "l2", "chosen": 0.1, "standard_error": 0.05}
    return score("net", dataset, 0.8) | likeness | fit | changes


def tried(result: Row, validation: Sequence[float] = (0.4, 0.8, 0.7)) -> list[Row]:
    """The values of l2 that a cell tried; 0.1 is the second."""
    grain = {name: result[name] for name in ("cell", "model", "dataset", "setting", "tap", "probe", "solver", "seed")}
    own = {"hyperparameter": "l2", "metric": result["metric"]}
    return [grain | own | {"value": 10.0**i / 100, "validation": found} for i, found in enumerate(validation)]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A store with a dataset for every fault."""
    store = FeatureStore.create(str(tmp_path_factory.mktemp("it's") / "a store"))
    names = ["sound", *TOLD]
    rows = {name: {split: images(name, split) for split in SIZES} for name in names}
    records = {name: described(name) for name in names}
    results = {name: fitted(name) for name in names}
    validation: dict[str, Sequence[float]] = {}

    results["constant"] |= {"feature_spread": [0.0, 0.0, 0.4], "equal_features": [1.0, 1.0, 0.0]}
    results["nearly"] |= {"feature_spread": [0.4, 0.4, 0.004]}
    results["partly"] |= {"equal_features": [0.37, 0.0, None]}
    validation["saturated"] = (1.0, 1.0, 1.0)
    results["saturated"] |= {"value": 0.97}
    validation["guessed"] = (0.3, 0.36, 0.33)
    results["guessed"] |= {"value": 0.35}
    validation["shifted"] = (0.4, 0.95, 0.9)
    results["shifted"] |= {"value": 0.5}
    rows["contradicted"]["train"][1]["sample_id"] = rows["contradicted"]["train"][0]["sample_id"]
    rows["contradicted"]["train"][2]["sample_id"] = rows["contradicted"]["val"][1]["sample_id"]
    for i in range(3):
        rows["copied"]["test"][i]["sample_id"] = rows["copied"]["train"][i]["sample_id"]
    rows["copied"]["train"][6]["sample_id"] = rows["copied"]["train"][9]["sample_id"]
    rows["lacking"]["test"] = [row for row in rows["lacking"]["test"] if row["label"]]
    for row in rows["broken"]["test"][::3]:
        row |= {"readable": False, "reason": "truncated", "sample_id": "empty"}
    rows["scratched"]["train"][0] |= {"readable": False, "reason": "truncated"}
    results["tiny"] |= {"n_test": 12, "standard_error": 0.11}
    rows["turned"]["test"][4]["orientation"] = 6
    records["divided"] |= {"val_made": "30 of 90 train images held out, stratified, seed 0"}
    records["sifted"] |= {"notes": ["3 files left out: no image (a.txt, ...)", "1 folder left out: empty (b)"]}

    for name, splits in rows.items():
        for split, own in splits.items():
            item = SampleSet(name, split, "k")
            store.write_shard(item, 0, 1, pa.Table.from_pylist(own, schema=schema.SAMPLES))
            store.finish(item, 1, {})
    trials = [row for name in names for row in tried(results[name], validation.get(name, (0.4, 0.8, 0.7)))]
    store.publish("results", "given", rows_table("results", results.values()))
    store.publish("tuning", "given", rows_table("tuning", trials))
    store.publish("datasets", "given", rows_table("datasets", records.values()))
    with Database(store) as opened:
        yield opened


@pytest.fixture(scope="module")
def findings(database: Database) -> list[Row]:
    return database.query("sanity").to_pylist()


def said(findings: list[Row], dataset: str, question: str) -> list[str]:
    return [row["finding"] for row in findings if (row["dataset"], row["question"]) == (dataset, question)]


def test_every_fault_is_found_and_nothing_is_said_of_what_is_sound(findings: list[Row]) -> None:
    found: dict[str, dict[str, str]] = {}
    for row in findings:
        found.setdefault(row["dataset"], {})[row["question"]] = row["severity"]
    assert found == TOLD


def test_warnings_come_first(findings: list[Row]) -> None:
    severities = [row["severity"] for row in findings]
    assert severities == sorted(severities, reverse=True)


def test_features_that_are_all_equal_nearly_so_or_equal_for_many_images_are_told_apart(findings: list[Row]) -> None:
    (row,) = (row for row in findings if row["dataset"] == "constant")
    assert (row["model"], row["split"]) == ("net", None)
    assert row["finding"] == "Of up to 512 images each of train, val, all have the same features (model net)."
    (nearly,) = said(findings, "nearly", "constant_features")
    assert "each of test, most have nearly (median distance 0.004 of their size) the same features" in nearly
    (partly,) = said(findings, "partly", "constant_features")
    assert "each of train, up to 37% have the same features" in partly


def test_an_analysis_finds_equal_features_where_no_probe_has_measured_them(given: Given) -> None:
    keys = {"train_key": "a", "val_key": "b", "test_key": "c"}
    place = {"model": "net", "dataset": "pets", "setting": "fixed", "tap": "penultimate"}
    cell = {**place, "cell": "c", "probe": "knn", "solver": "", "seed": 0, "study": "s", "wanted_at": NOW, **keys}
    seen = {**place, "analysis": "x", "n_images": 9, "dim": 4, "seconds": 1.0, "created_at": NOW, **keys}
    other = seen | {"analysis": "y", "model": "other", "effective_rank": 3.5}
    database = given(cells=[cell, cell | {"cell": "d", "model": "other"}], representations=[seen, other])
    rows = database.query("constant_features").to_pylist()
    assert [(row["model"], row["split"], row["spread"]) for row in rows] == [("net", "train", 0), ("net", "val", 0)]


def test_validation_that_is_the_same_for_every_value_chooses_nothing(findings: list[Row]) -> None:
    assert said(findings, "saturated", "flat_tuning") == [
        "Validation top1 is 1 for every value of l2 that was tried, in 1 of 1 tuned cell (probe logistic; model net): "
        "it does not tell them apart."
    ]


def test_chance_is_the_share_of_the_most_frequent_class_in_validation_and_test(findings: list[Row]) -> None:
    test, val = said(findings, "guessed", "at_chance")
    assert test.startswith(
        "Test top1 cannot be told from chance in 1 of 1 cell (probe logistic; model net): at most 0.350, where one"
    )
    assert "gives 0.333, with a standard error of 0.061" in test
    assert "at most 0.360, where one class for all images gives 0.333, with a standard error of 0.086" in val


def test_chance_of_a_mean_over_classes_is_one_of_their_number_however_rare_they_are(
    store: FeatureStore,
) -> None:
    rows = [row | {"label": int(row["index"] >= 50)} for row in images("pets", "test")]
    item = SampleSet("pets", "test", "k")
    store.write_shard(item, 0, 1, pa.Table.from_pylist(rows, schema=schema.SAMPLES))
    store.finish(item, 1, {})
    results = [
        fitted("pets", metric="top1", value=50 / 60) | {"model": "a", "cell": "a"},
        fitted("pets", metric="mean_per_class", value=0.6) | {"model": "b", "cell": "b"},
        fitted("pets", metric="mean_per_class", value=0.9) | {"model": "c", "cell": "c"},
        fitted("pets", metric="map_11point", value=0.1) | {"model": "d", "cell": "d"},
    ]
    store.publish("results", "given", rows_table("results", results))
    with Database(store) as database:
        found = {row["model"]: row["chance"] for row in database.query("at_chance").to_pylist()}
    assert found == {"a": pytest.approx(50 / 60), "b": 0.5}


def test_a_perfect_score_of_few_images_is_not_called_chance(store: FeatureStore) -> None:
    rows = images("pets", "test")[:4]
    item = SampleSet("pets", "test", "k")
    store.write_shard(
        item, 0, 1, pa.Table.from_pylist([row | {"label": row["index"] % 2} for row in rows], schema.SAMPLES)
    )
    store.finish(item, 1, {})
    results = [fitted("pets", n_test=4, value=value) | {"model": name, "cell": name} for name, value in FEW.items()]
    store.publish("results", "given", rows_table("results", results))
    with Database(store) as database:
        assert database.query("at_chance")["model"].to_pylist() == ["half right"]


def test_a_test_metric_far_from_validation_is_told_in_standard_errors(findings: list[Row], database: Database) -> None:
    (text,) = said(findings, "shifted", "validation_gap")
    share = (30 * 0.95 + 60 * 0.5) / 90
    error = (share * (1 - share) * (1 / 30 + 1 / 60)) ** 0.5
    larger = max(error, 0.05 * (1 + 60 / 30) ** 0.5)
    assert text == f"Test top1 0.500 is 0.450 below validation, {0.45 / larger:.1f} standard errors (net, logistic)."
    (row,) = database.query("validation_gap", errors=1, difference=0.2, dataset="shifted").to_pylist()
    assert (row["n_val"], row["n_test"], row["difference"]) == (30, 60, pytest.approx(-0.45))


def test_equal_bytes_under_two_labels_are_shown_inside_a_split_and_across(
    findings: list[Row], database: Database
) -> None:
    assert said(findings, "contradicted", "conflicting_labels") == [
        "2 images occur under several labels, byte for byte (4 files): 1 inside train, 1 across splits."
    ]
    rows = database.query("conflicting_labels", dataset="contradicted").to_pylist()
    assert [(row["split"], row["index"], row["labels"], row["inside"]) for row in rows] == [
        ("train", 0, "ant", True), ("train", 1, "bee", True), ("train", 2, "cat", False), ("val", 1, "bee", False)
    ]  # fmt: skip
    assert {(row["n_copies"], row["n_labels"]) for row in rows} == {(2, 2)}


def test_images_of_several_labels_conflict_where_their_sets_differ(store: FeatureStore) -> None:
    rows = [
        row | {"label": None, "label_name": None, "labels": labels}
        for row, labels in zip(images("pets", "train"), ([0, 1], [1, 0], [2]), strict=False)
    ]
    for i, row in enumerate(rows):
        row["sample_id"] = "same" if i < 2 else "other"
    rows.append(rows[2] | {"index": 3, "labels": [1, 2]})
    item = SampleSet("pets", "train", "k")
    store.write_shard(item, 0, 1, pa.Table.from_pylist(rows, schema=schema.SAMPLES))
    store.finish(item, 1, {})
    store.publish("datasets", "given", rows_table("datasets", [described("pets")]))
    with Database(store) as database:
        found = database.query("conflicting_labels").to_pylist()
        repeated = database.query("repeated_images").to_pylist()
    assert [(row["sample_id"], row["labels"]) for row in found] == [("other", "cat"), ("other", "bee, cat")]
    assert [row["index"] for row in repeated] == [0, 1]


def test_copies_of_test_images_and_repeats_are_told_apart(findings: list[Row]) -> None:
    assert said(findings, "copied", "leaks") == [
        "3 of 60 test images are, byte for byte, among the training and validation images."
    ]
    assert said(findings, "copied", "repeated_images") == [
        "4 images occur more than once under one label, byte for byte (8 files): 1 inside train."
    ]


def test_classes_that_no_readable_image_has_are_named(findings: list[Row], database: Database) -> None:
    assert said(findings, "lacking", "missing_classes") == ["1 of 3 classes has no readable test image: ant."]
    (row,) = database.query("missing_classes", dataset="broken").to_pylist()
    assert (row["split"], row["class_name"], row["n_unreadable"]) == ("test", "ant", 20)


def test_unreadable_images_of_one_class_are_a_warning_with_their_reason(findings: list[Row]) -> None:
    assert said(findings, "broken", "unreadable_by_class") == [
        "20 of 150 images cannot be read; 20 of 20 of class ant in test: truncated."
    ]
    (text,) = said(findings, "scratched", "unreadable_by_class")
    assert text.startswith("1 of 150 images cannot be read;")


def test_few_test_images_have_the_standard_error_said(findings: list[Row]) -> None:
    assert said(findings, "tiny", "small_splits") == [
        "top1 was measured on 12 test images: the standard error of a share of so few is up to 0.14."
    ]


def test_facts_about_a_dataset_are_remarks(findings: list[Row]) -> None:
    assert said(findings, "turned", "turned_images") == [
        "1 of 150 images state an EXIF orientation other than upright, in test: their pixels are stored turned or "
        "mirrored."
    ]
    assert said(findings, "divided", "made_splits") == [
        "Made here, not by the source: val (30 of 90 train images held out, stratified, seed 0)."
    ]
    assert said(findings, "sifted", "dataset_notes") == ["2 notes, the first: 3 files left out: no image (a.txt, ...)"]


def test_what_a_dataset_says_of_its_splits_tells_those_that_were_made_here(given: Given, tmp_path: Path) -> None:
    whole = save_images(tmp_path / "whole", {"a": 10, "b": 10})
    for split, n in {"train": 6, "val": 4, "test": 4}.items():
        save_images(tmp_path / "split" / split, {"a": n, "b": n})
    specs = [
        DatasetSpec(name="whole", source=f"image_folder:{whole}"),
        DatasetSpec(name="split", source=f"image_folder:{tmp_path / 'split'}"),
        DatasetSpec(name="part", source=f"image_folder:{tmp_path / 'split'}", limit=10),
    ]
    rows = given(datasets=[Dataset(spec).record() | {"recorded_at": NOW} for spec in specs]).query("made_splits")
    assert [(row["dataset"], row["split"], row["held_out"]) for row in rows.to_pylist()] == [
        ("part", "train", False), ("whole", "train", False), ("whole", "val", True), ("whole", "test", True)
    ]  # fmt: skip


def test_results_that_count_in_no_number_are_a_remark(given: Given) -> None:
    results = [score("net", dataset, 0.8, model_key="former") for dataset in ("d0", "d1")]
    database = given(results=results, models=[model("net", 0.7) | {"model_key": "now"}])
    (row,) = database.query("sanity").to_pylist()
    assert (row["question"], row["severity"], row["dataset"]) == ("superseded_results", "remark", None)
    assert row["finding"].startswith("2 stored cells count in no number: weights or preprocessing")
    assert row["command"].startswith("probestore query superseded_results --store ")


def made(timm: str, n_images: int, fingerprint: str | None = "f") -> Row:
    """What an installation made."""
    return {"versions": f'{{"timm": "{timm}"}}', "device": "cpu", "fingerprint": fingerprint, "n_images": n_images}


def of(name: str, dataset: str, *makings: Row) -> Row:
    """A result of which nothing is odd but what its features were made with."""
    return fitted(dataset) | score(name, dataset, 0.8) | {"features_made_with": list(makings), "n_test": 60}


def test_versions_that_are_mixed_are_counted_for_features_models_and_comparisons(given: Given) -> None:
    results = [
        of("half", "d0", made("1", 70), made("2", 30)),
        of("apart", "d0", made("1", 100)),
        of("apart", "d1", made("2", 100)),
        of("same", "d2", made("1", 100)),
        fitted("d2") | score("older", "d2", 0.8),
    ]
    database = given(results=results, models=[model(name, 0.7) for name in ("half", "apart", "same", "older")])
    rows = database.query("mixed_versions").to_pylist()
    counts = [(row["scope"], row["model"], row["dataset"], row["versions"][-3:-2], row["n_images"]) for row in rows]
    assert counts == [
        ("features", "half", "d0", "1", 70),
        ("features", "half", "d0", "2", 30),
        ("model", "apart", None, "1", 100),
        ("model", "apart", None, "2", 100),
        ("model", "half", None, "1", 70),
        ("model", "half", None, "2", 30),
        ("comparison", None, "d0", "1", 170),
        ("comparison", None, "d0", "2", 30),
    ]
    assert not any(row["drift"] for row in rows)
    found = [row for row in database.query("sanity").to_pylist() if row["question"] == "mixed_versions"]
    assert {row["severity"] for row in found} == {"remark"}
    assert len(found) == 3
    with_them = database.query("made_with").to_pylist()
    assert [(row["n_models"], row["n_datasets"], row["n_images"]) for row in with_them] == [(3, 2, 270), (2, 2, 130)]


def test_drift_that_was_accepted_is_a_warning(given: Given) -> None:
    results = [of("half", "d0", made("1", 70, "f"), made("2", 30, "g"))]
    database = given(results=results, models=[model("half", 0.7)])
    found = [row for row in database.query("sanity").to_pylist() if row["question"] == "mixed_versions"]
    assert [row["severity"] for row in found] == ["warning", "warning", "remark"]
    assert "--accept-drift" in found[0]["finding"]


def test_numbers_that_are_none_and_counts_that_are_not_known_are_no_finding(given: Given) -> None:
    nan, unknown = float("nan"), {"n_train": None, "n_val": None, "feature_spread": None, "equal_features": None}
    results = [
        fitted("d0", value=nan, standard_error=nan),
        fitted("d1", standard_error=nan),
        fitted("d2", **unknown),
        fitted("d3", standard_error=None, feature_spread=[None, None, None], equal_features=[None, None, None]),
        score("net", "d4", 1.5, metric="logme", headline=False, n_test=0),
    ]
    trials = [*tried(results[0]), *tried(results[1], (nan, nan, nan)), *tried(results[2]), *tried(results[3])]
    assert given(results=results, tuning=trials).query("sanity").to_pylist() == []


def test_a_model_far_off_the_line_is_a_warning_and_one_that_is_a_little_off_is_not(given: Given) -> None:
    tops = {f"m{i}": 0.6 + 0.02 * i for i in range(12)}
    scores = {name: [top - 0.1 + 0.002 * (i % 3), top - 0.05] for i, (name, top) in enumerate(tops.items())}
    models = [model(name, top) for name, top in tops.items()]
    assert given(results=grid(scores), models=models).query("off_the_line").num_rows == 0
    far = given(results=grid(scores | {"m6": [0.45, 0.45]}), models=models)
    assert far.query("off_the_line")["model"].to_pylist() == ["m6"]
    (row,) = (row for row in far.query("sanity").to_pylist() if row["question"] == "off_the_line")
    assert (row["severity"], row["model"], row["dataset"]) == ("warning", "m6", None)
    assert re.match(r"m6 lies \d\.\d\d log-odds below the line through 12 models: p = \S+ \(Holm\)\.", row["finding"])
    assert row["command"].startswith("probestore query off_the_line --store ")


def test_every_command_asks_the_question_that_shows_the_rows(database: Database, findings: list[Row]) -> None:
    for row in findings:
        program, query, name, *rest = shlex.split(row["command"])
        assert (program, query, name) == ("probestore", "query", row["question"])
        assert rest == ["-p", f"dataset={row['dataset']}", "--store", database.uri]
        asked = {"dataset": row["dataset"]}
        assert database.query(name, **asked).num_rows > 0


def test_a_word_of_a_command_is_quoted_as_python_does_it(database: Database) -> None:
    rng = random.Random(0)
    letters = "aZ0_@%+=:,./-'\"\\ $`*!#~&;|<>(){}[]?\n\t\r\x01\x1b\x7f\x85\u200e\u202e\u2069é花😀"
    words = ["", "pets", "/a/b-c_d.e", *("".join(rng.choices(letters, k=rng.randint(1, 8))) for _ in range(300))]
    literals = ", ".join("'" + word.replace("'", "''") + "'" for word in words)
    found = database.sql(f"select unnest(list_transform([{literals}], lambda word: shell_word(word))) as word")
    assert found["word"].to_pylist() == [shell_command(word) for word in words]


def test_what_reads_no_image_is_part_of_the_whole(database: Database, findings: list[Row]) -> None:
    quick = database.query("sanity_of_results").to_pylist()
    assert [row for row in findings if row["question"] in {found["question"] for found in quick}] == quick


def test_images_are_read_for_the_checks_that_look_at_them_only(store: FeatureStore) -> None:
    kept = "select table_name from duckdb_tables() where table_name = 'seen_images'"
    with Database(store) as database:
        database.query("sanity_of_results")
        assert database.sql(kept).num_rows == 0
        database.query("sanity")
        assert database.sql(kept).num_rows == 1


def test_a_store_with_nothing_in_it_has_no_findings(given: Given) -> None:
    assert given().query("sanity").num_rows == 0


def test_the_thresholds_of_a_question_are_those_of_its_check() -> None:
    text = "\n".join(scripts())
    for question in questions.by_topic():
        own = {p.name: p.default.partition("::")[0] for p in question.parameters if p.default[0].isdigit()}
        if question.topic == "sanity" and own:
            (signature,) = re.findall(rf"create macro {question.name}\(([^)]*)\)", text)
            assert {f"the_{name}": value for name, value in own.items()} == dict(
                re.findall(r"(\w+) := ([\d.]+)", signature)
            )
