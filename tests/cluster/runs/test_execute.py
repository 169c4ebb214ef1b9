import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from tiny import save_images

from cluster.pool.local_pool import LocalPool
from cluster.pool.units import Hands, run_unit
from cluster.reporting.events import Failed, Note, StageStarted, UnitDone
from cluster.runs.stored_runs import add_probes
from cluster.runs.study_run import run_study
from cluster.study.probe_settings import probe_settings
from cluster.study.study_file import read_study
from cluster.work.contract import StoreAddress
from cluster.work.kinds.features import ShardDone, ShardUnit
from cluster.work.ledger import Summary
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import MissingFeaturesError, UnknownNameError
from featurestore.images import opened_images
from probes import GAP_TOLERANCE, methods
from queries.asking.database import Database
from queries.report import write_report


class Recorder:
    """A reporter that remembers."""

    def __init__(self):
        self.events, self.stages, self.notes, self.failures, self.done = [], [], [], [], Counter()

    def tell(self, event):
        self.events.append(event)
        match event:
            case StageStarted() if event.total:
                self.stages.append((event.stage, event.total))
            case UnitDone():
                self.done[event.stage] += event.amount
            case Note():
                self.notes.append(event.text)
            case Failed():
                self.failures.append(str(event))


def run(path: Path, store: FeatureStore, pool: LocalPool, **options: bool) -> tuple[Summary, Recorder]:
    recorder = Recorder()
    try:
        return run_study(read_study(path), store, pool=pool, reporter=recorder, **options), recorder
    finally:
        sys.modules.pop("tiny_network", None)
        sys.path[:] = [folder for folder in sys.path if folder != str(path.parent)]


def rows(store: FeatureStore, table: str, *, without: tuple[str, ...] = ()) -> list[dict]:
    """Every committed row, in an order of its own, without the columns that time decides."""
    found = [row for path in store.files(table)[1:] for row in pq.read_table(path, partitioning=None).to_pylist()]
    return sorted(({k: v for k, v in row.items() if k not in without} for row in found), key=repr)


def feature_bytes(store: FeatureStore) -> dict[FeatureSet, bytes]:
    return {item: store.read(item).X.tobytes() for item in store.sets() if isinstance(item, FeatureSet)}


TIMES = ("seconds", "created_at", "wanted_at", "recorded_at")


def test_a_study_fills_every_table(pool, study_file, store):
    summary, recorder = run(study_file(2), store, pool)
    assert (summary.counts["passes"], summary.counts["cells"], summary.failures) == (80, 2, [])
    assert recorder.stages == [("features", 80), ("probes", 2)]
    assert recorder.done == {"features": 80, "probes": 2}
    assert len(rows(store, "samples")) == 40
    assert len(rows(store, "features")) == 80
    assert len(rows(store, "predictions")) == 2 * 8
    assert len(rows(store, "tuning")) == 2 * 45
    results = rows(store, "results")
    assert {row["metric"] for row in results if row["headline"]} == {"top1"}
    assert {row["metric"] for row in results} == {
        "top1",
        "top5",
        "mean_per_class",
        "balanced_accuracy",
        "nll",
        "ece",
    }
    assert all(row["duality_gap"] is not None and row["converged"] for row in results)
    assert {row["model"] for row in rows(store, "models")} == {"tiny_0", "tiny_1"}


def test_every_number_can_be_traced_to_the_predictions(pool, study_file, store):
    run(study_file(1), store, pool)
    with Database(store) as database:
        answer = database.sql(
            "select r.value, avg((p.predicted = p.label)::int) as recomputed, any_value(m.weights_digest) as digest "
            "from results r join predictions p using (cell) join models m on m.model = r.model "
            "where r.metric = 'top1' group by r.value"
        ).to_pylist()
    assert answer[0]["value"] == pytest.approx(answer[0]["recomputed"])
    assert answer[0]["digest"].startswith("random:")


def test_a_second_run_computes_nothing(pool, study_file, store):
    run(study_file(1), store, pool)
    before = {path: path.stat().st_mtime_ns for path in Path(store.uri).rglob("part-*.parquet")}
    summary, recorder = run(study_file(1), store, pool)
    assert (summary.counts["passes"], summary.counts["cells"], summary.counts["cells_wanted"], recorder.stages) == (
        0,
        0,
        1,
        [],
    )
    assert {path: path.stat().st_mtime_ns for path in Path(store.uri).rglob("part-*.parquet")} == before


def test_the_first_pair_is_probed_while_the_next_is_extracted(pool, study_file, store, images):
    more = f'[[dataset]]\nname = "more_pets"\nsource = "image_folder:{images}"\nshard_images = 4\nlimit = 30\n'
    summary, recorder = run(study_file(1, more), store, pool)
    names = [event.name() for event in recorder.events]
    last_shard = max(number for number, name in enumerate(names) if name == "shard_done")
    assert names.index("cell_done") < last_shard
    assert names.count("stage_started") == names.count("stage_ended") == 2
    assert summary.failures == []


def test_another_model_computes_only_its_own_cells(pool, study_file, store):
    run(study_file(1), store, pool)
    summary, _ = run(study_file(2), store, pool)
    assert (summary.counts["passes"], summary.counts["cells"], summary.counts["cells_wanted"]) == (40, 1, 2)


def test_another_seed_of_the_probe_reuses_all_features(pool, study_file, store):
    run(study_file(1), store, pool)
    summary, _ = run(study_file(1, more="[probe]\nseed = 1\n"), store, pool)
    assert (summary.counts["passes"], summary.counts["cells"]) == (0, 1)


@pytest.mark.slow
def test_a_name_stands_for_one_model_in_every_answer(pool, study_file, store, tmp_path):
    """Other weights under the name of before, and not on every dataset: what the name stood for is history."""
    save_images(tmp_path / "more", {"cats": 10, "dogs": 10})
    second = '[[dataset]]\nname = "zoo"\nsource = "image_folder:more"\n'
    study = study_file(1, second)
    run(study, store, pool)
    study.write_text(study.read_text().replace("seed = 0", "seed = 7").replace(second, ""))
    run(study, store, pool)
    with Database(store) as database:
        assert database.sql("select distinct dataset from results").to_pylist() == [{"dataset": "pets"}]
        assert database.sql("select distinct dataset from stored_results order by 1").num_rows == 2


def test_a_lost_shard_is_the_only_one_that_is_made_again(pool, study_file, store):
    run(study_file(1), store, pool)
    whole = feature_bytes(store)
    folder = Path(store.uri) / next(item.folder for item in whole if item.split == "train")
    (folder / "manifest.json").unlink()
    (folder / "part-00001-of-00004.parquet").unlink()
    summary, _ = run(study_file(1), store, pool)
    assert summary.counts["passes"] == 8
    assert feature_bytes(store) == whole


def test_a_lost_manifest_is_written_again_without_computing(pool, study_file, store):
    run(study_file(1), store, pool)
    for manifest in Path(store.uri).rglob("manifest.json"):
        manifest.unlink()
    summary, _ = run(study_file(1), store, pool)
    assert (summary.counts["passes"], summary.counts["cells"]) == (0, 0)
    assert len(store.sets()) == 6


def test_what_fails_is_recorded_and_the_rest_goes_on(pool, study_file, store):
    more = (
        '[[model]]\nname = "broken"\nbackbone = "python:tiny_network:broken"\nweights = "none"\ninput_size = 16\n'
        '[[model]]\nname = "absent"\nbackbone = "python:tiny_network:no_such"\nweights = "none"\ninput_size = 16\n'
        '[[dataset]]\nname = "nowhere"\nsource = "image_folder:nowhere"\n'
    )
    summary, recorder = run(study_file(1, more), store, pool)
    assert summary.counts["cells"] == 1
    assert [(work.stage, work.model, work.dataset) for work in summary.failures] == [
        ("model", "absent", None),
        ("dataset", None, "nowhere"),
        ("extract", "broken", "pets"),
    ]
    assert len(recorder.failures) == 3
    assert {row["stage"] for row in rows(store, "failures")} == {"model", "dataset", "extract"}


def test_weights_of_another_architecture_fail_their_model_only(pool, study_file, store, tmp_path):
    torch.save({"0.weight": torch.zeros(4, 3, 5, 5), "0.bias": torch.zeros(4)}, tmp_path / "other.pth")
    more = (
        '[[model]]\nname = "misfit"\nbackbone = "python:tiny_network:build"\nweights = "other.pth"\ninput_size = 16\n'
    )
    summary, _ = run(study_file(1, more), store, pool)
    assert summary.counts["cells"] == 1
    (work,) = summary.failures
    assert "another architecture" in work.failure.message


@pytest.mark.slow
def test_what_float16_cannot_hold_is_stored_as_float32(pool, study_file, store):
    more = '[[model]]\nname = "loud"\nbackbone = "python:tiny_network:loud"\nweights = "none"\ninput_size = 16\n'
    summary, recorder = run(study_file(1, more), store, pool)
    assert (summary.counts["cells"], summary.failures) == (2, [])
    assert any("loud on pets: the largest feature is" in note for note in recorder.notes)
    dtypes = {item.model: store.read(item).X.dtype for item in store.sets() if isinstance(item, FeatureSet)}
    assert dtypes == {"tiny_0": np.float16, "loud": np.float32}
    assert run(study_file(1, more), store, pool)[0].counts["passes"] == 0


def test_a_class_whose_images_are_all_unreadable_is_said_by_name_with_the_reason(pool, study_file, store, images):
    for path in (images / "dogs").iterdir():
        path.write_bytes(b"")
    summary, recorder = run(study_file(1), store, pool)
    assert "Dataset pets: no training image of 'dogs' can be read: the file is empty" in recorder.notes
    (work,) = summary.failures
    assert "1 of the 2 classes of pets have no readable training image: 'dogs'." in work.failure.message


def test_unreadable_images_are_counted_and_left_out(pool, study_file, store, images):
    (images / "cats" / "003.png").write_bytes(b"")
    Image.new("L", (1, 1)).save(images / "dogs" / "004.png")
    summary, _ = run(study_file(1), store, pool)
    assert (summary.counts["unreadable"], summary.failures) == (1, [])
    with Database(store) as database:
        (skipped,) = database.query("skipped_images").to_pylist()
    assert skipped["reason"] == "the file is empty"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            'metric = "nll"\n',
            "must be one of top1, top5, mean_per_class, balanced_accuracy, because every image has one label",
        ),
        ('metric = "map_11point"\n', "must be one of top1, top5, mean_per_class, balanced_accuracy"),
        ("limit = 2\n", "no image left for its (val|test) split"),
    ],
)
def test_a_dataset_that_cannot_be_used_fails_before_it_is_extracted(pool, study_file, store, more, message):
    summary, recorder = run(study_file(1, more), store, pool)
    assert recorder.stages == []
    (work,) = summary.failures
    assert (work.stage, work.dataset) == ("dataset", "pets")
    assert re.search(message, work.failure.message)


def test_an_unknown_backbone_stops_a_study_before_anything_is_computed(pool, study_file, store):
    more = '[[model]]\nname = "net"\nbackbone = "tim:resnet18"\n'
    with pytest.raises(UnknownNameError, match="Unknown backbone family 'tim'. Did you mean 'timm'"):
        run(study_file(1, more), store, pool)


def test_coverage_knows_what_failed_and_what_is_done(pool, study_file, store):
    more = '[[model]]\nname = "broken"\nbackbone = "python:tiny_network:broken"\nweights = "none"\ninput_size = 16\n'
    run(study_file(1, more), store, pool)
    with Database(store) as database:
        found = {row["model"]: row["status"] for row in database.query("coverage").to_pylist()}
    assert found == {"tiny_0": "done", "broken": "failed"}
    run(study_file(1), store, pool)
    with Database(store) as database:
        assert database.query("open_failures").num_rows == 0


BROKEN = '[[model]]\nname = "broken"\nbackbone = "python:tiny_network:broken"\nweights = "none"\ninput_size = 16\n'


def failing(store: FeatureStore) -> list[tuple[str, str, bool]]:
    with Database(store) as database:
        rows = database.query("open_failures").to_pylist()
    return [(row["stage"], row["model"], row["tried_again"]) for row in rows]


def test_what_failed_is_not_tried_again_until_it_is_asked_for(pool, study_file, store):
    study = study_file(1, BROKEN)
    run(study, store, pool)
    assert failing(store) == [("extract", "broken", False)]
    summary, recorder = run(study, store, pool)
    assert [(work.model, work.before) for work in summary.failures] == [("broken", True)]
    assert recorder.stages == []
    assert [event.before for event in recorder.events if isinstance(event, Failed)] == [True]
    assert any("1 failure of an earlier run: such work is tried again only where" in note for note in recorder.notes)
    with Database(store) as database:
        assert {row["status"] for row in database.query("coverage").to_pylist()} == {"done", "failed"}
    summary, recorder = run(study, store, pool, retry_failed=True)
    assert recorder.stages == [("features", 40), ("probes", 1)], "its probes may follow"
    assert [(work.model, work.before) for work in summary.failures] == [("broken", False)]


@pytest.mark.slow
def test_what_failed_is_tried_again_when_its_code_has_changed(pool, study_file, store):
    study = study_file(1, BROKEN)
    run(study, store, pool)
    module = study.parent / "tiny_network.py"
    module.write_text(module.read_text().replace("return torch.nn.Linear(7, 7)", "return build()"))
    summary, _ = run(study, store, pool)
    assert (summary.failures, summary.counts["cells"]) == ([], 2)
    assert failing(store) == []


def test_events_add_up_to_what_was_done(pool, study_file, store):
    """Also of what failed: every shard is told of once, and every unit of work is accounted for."""
    _, recorder = run(study_file(2, BROKEN), store, pool)
    names = [event.name() for event in recorder.events]
    assert (names[0], names[-1]) == ("run_started", "run_ended")
    shards = [event for event in recorder.events if isinstance(event, ShardDone)]
    assert sorted((event.split, event.shard) for event in shards) == [
        *[("test", 0), *[("train", shard) for shard in range(4)], ("val", 0)]
    ]
    assert {made.model for event in shards for made in event.models} == {"tiny_0", "tiny_1"}
    assert {name for event in shards for name in event.failed} == {"broken"}
    assert all(event.node and event.seconds > 0 for event in shards)
    assert recorder.done == {"features": 120, "probes": 2}
    ended = recorder.events[-1]
    assert tuple(ended.fields()[name] for name in ("passes", "cells", "cells_wanted", "failures")) == (80, 2, 3, 1)


def test_progress_is_a_table_that_a_later_run_brings_up_to_date(pool, study_file, store):
    run(study_file(1), store, pool)
    question = "select stage, sum(wanted)::int w, sum(done)::int d, min(images_per_second) r from progress group by 1"
    for _ in range(2):
        with Database(store) as database:
            features, probes = database.sql(f"{question} order by 1").to_pylist()
        assert (features["stage"], features["w"], features["d"]) == ("features", 6, 6)
        assert features["r"] > 0
        assert (probes["stage"], probes["w"], probes["d"], probes["r"]) == ("probes", 1, 1, None)
        run(study_file(1), store, pool)


def test_strict_names_the_dataset_once(pool, study_file, store, images):
    for path in sorted(images.rglob("*.png"))[::3]:
        path.write_bytes(b"")
    summary, _ = run(study_file(1, more="[extract]\nstrict = true\n"), store, pool)
    (work,) = summary.failures
    assert "is unreadable (the file is empty)" in work.failure.message


def test_files_that_changed_since_planning_are_not_extracted_under_the_old_key(pool, image_spec, store, tmp_path):
    unit = ShardUnit(
        store=StoreAddress(store.uri),
        python_path=str(tmp_path),
        dataset=image_spec,
        fingerprint="other",
        run_id="run",
        split="train",
        shard=0,
        n_images=8,
        jobs=(),
        batch_size=4,
        strict=False,
    )
    assert "have changed since the run was planned" in run_unit(unit, Hands("cpu", 1)).message


def test_a_dataset_is_opened_by_the_driver_alone(pool, study_file, store, monkeypatch):
    found = []
    original = opened_images.open_source
    monkeypatch.setattr(opened_images, "open_source", lambda spec: found.append(spec.name) or original(spec))
    run(study_file(2), store, pool)
    assert found == ["pets"]


@pytest.mark.slow
def test_a_multilabel_dataset_is_probed_with_its_own_metric(pool, study_file, store, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = [], []
    for _ in range(60):
        on = rng.random(3) < 0.4
        pixels = np.full((12, 12, 3), 40, np.uint8)
        pixels[..., on] = 210
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue()})
        labels.append(np.flatnonzero(on).tolist())
    (tmp_path / "colours").mkdir()
    pq.write_table(pa.table({"image": images, "labels": labels}), tmp_path / "colours" / "train.parquet")
    more = '[[dataset]]\nname = "colours"\nsource = "parquet:colours"\nmetric = "map_11point"\n'
    summary, _ = run(study_file(1, more), store, pool)
    assert summary.failures == []
    values = {row["metric"]: row["value"] for row in rows(store, "results") if row["dataset"] == "colours"}
    assert set(values) == {"map_11point", "balanced_accuracy", "nll"}
    assert values["map_11point"] > 0.9


def test_both_solvers_give_the_same_answer(pool, study_file, store):
    run(study_file(1, more='[probe]\nsolver = "sklearn"\n'), store, pool)
    run(study_file(1, more='[probe]\nsolver = "path"\n'), store, pool)
    tuned = {row["solver"]: [] for row in rows(store, "results")}
    for row in sorted(rows(store, "tuning"), key=lambda row: row["value"]):
        tuned[row["solver"]].append(row["objective"])
    np.testing.assert_allclose(tuned["path"], tuned["sklearn"], rtol=2 * GAP_TOLERANCE)


# ---- probes -----------------------------------------------------------------------------------------------------


PROBES = '[probe]\nprobes = ["knn", "logme"]\nn_per_class = [2, 5]\nfew_shot_seeds = 2\n[probe.knn]\nks = [1, 3]\n'


def add(store: FeatureStore, pool: LocalPool, *probes: str, **keys) -> tuple[Summary, Recorder]:
    recorder = Recorder()
    settings = probe_settings(probes=list(probes), **{"options": [], **keys})
    return add_probes(settings, store, pool=pool, reporter=recorder), recorder


@pytest.mark.slow
def test_every_probe_runs_where_it_applies(pool, study_file, store, tmp_path):
    """Two networks: one without a classifier of its own, on which LEEP and NCE are left out, and one with."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=7)
    torch.save(network.state_dict(), tmp_path / "seven.pth")
    more = (
        '[[model]]\nname = "seven"\nbackbone = "timm:test_resnet"\nweights = "seven.pth"\ninput_size = 32\n'
        f"[probe]\nprobes = {json.dumps(methods.names())}\n"
    )
    study = study_file(1, more)
    summary, recorder = run(study, store, pool)
    asking = {"leep", "nce"}
    assert summary.failures == []
    assert recorder.notes == [
        "No linear classifier of tiny_0 is in the store, so these probes are left out there: leep, nce."
    ]
    found = {(row["model"], row["probe"]) for row in rows(store, "results")}
    wanted = {("seven", probe) for probe in methods.names()} | {
        ("tiny_0", probe) for probe in methods.names() if probe not in asking
    }
    assert found == wanted
    assert summary.counts["cells"] == summary.counts["cells_wanted"] == len(wanted)
    measures = {row["metric"]: row["value"] for row in rows(store, "results") if row["n_test"] == 0}
    assert set(measures) == {"logme", "hscore", "leep", "nce"}
    assert measures["leep"] <= 0
    assert measures["nce"] <= 0
    with Database(store) as database:
        assert set(database.query("coverage")["status"].to_pylist()) == {"done"}
    again, _ = run(study, store, pool)
    assert (again.counts["cells"], again.counts["cells_wanted"]) == (0, len(wanted))


def test_turned_images_are_counted_and_turned_where_the_dataset_asks(pool, study_file, images, store):
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted(images.rglob("*.png"))[::10]:
        with Image.open(path) as image:
            image.save(path, exif=exif)
    summary, recorder = run(study_file(), store, pool)
    assert (summary.failures, recorder.notes) == (
        [],
        ['4 of 40 images of pets state an EXIF orientation; exif = "apply" turns them.'],
    )
    as_stored = feature_bytes(store)
    summary, recorder = run(study_file(more='exif = "apply"\n'), store, pool)
    assert recorder.notes == ["4 of 40 images of pets state an EXIF orientation; they were turned."]
    assert set(feature_bytes(store)) > set(as_stored), "turned images have a key of their own"
    with Database(store) as database:
        turned = database.sql("select width, height, mode from samples where orientation = 6")
        assert turned.to_pylist() == 4 * [{"width": 24, "height": 30, "mode": "RGB"}]


def test_a_study_of_several_probes_has_full_and_few_shot_cells(pool, study_file, store):
    summary, _ = run(study_file(1, PROBES), store, pool)
    assert (summary.counts["cells"], summary.counts["cells_wanted"], summary.failures) == (6, 6, [])
    found = {(row["probe"], row["n_per_class"], row["seed"]) for row in rows(store, "results")}
    few = {("knn", n, seed) for n in (2, 5) for seed in (0, 1)}
    assert found == {("knn", None, 0), ("logme", None, 0)} | few
    options = {row["options"] for table in ("cells", "results") for row in rows(store, table) if row["probe"] == "knn"}
    assert options == {'{"ks": [1, 3], "temperature": 0.07}'}
    with Database(store) as database:
        assert set(database.query("coverage")["status"].to_pylist()) == {"done"}
        slices = [(row["probe"], row["n_per_class"]) for row in database.query("slices").to_pylist()]
        assert slices == [("knn", None), ("knn", 5), ("knn", 2)]
        assert database.query("leaderboard", probe="knn", n_per_class=5)["model"].to_pylist() == ["tiny_0"]
    assert run(study_file(1, PROBES), store, pool)[0].counts["cells"] == 0
    other_options = PROBES.replace("[1, 3]", "[1, 5]")
    assert run(study_file(1, other_options), store, pool)[0].counts["cells"] == 5


@pytest.mark.slow
def test_the_report_is_written_where_measures_of_the_features_are_all_there_is(pool, study_file, store, tmp_path):
    run(study_file(3, '[probe]\nprobes = ["logme", "hscore"]\n'), store, pool)
    page = write_report(store.uri, tmp_path / "report.html").read_text()
    assert "Of 6 results wanted" in page
    assert "6 are done" in page


@pytest.mark.slow
def test_probes_are_added_to_what_is_stored_without_networks_or_images(pool, study_file, store, images, monkeypatch):
    run(study_file(2), store, pool)
    shutil.rmtree(images)
    (images.parent / "tiny_network.py").unlink()
    for module, name in [
        ("networks.backbones", "resolve"),
        ("networks.backbones", "weights_digest"),
        ("images.splits", "Dataset"),
    ]:
        monkeypatch.setattr(f"featurestore.{module}.{name}", lambda *_: pytest.fail("was touched"))
    summary, recorder = add(store, pool, "knn", n_per_class=[2], few_shot_seeds=1)
    assert (summary.counts["passes"], summary.counts["cells"], summary.counts["cells_wanted"], summary.failures) == (
        0,
        4,
        4,
        [],
    )
    assert (recorder.stages, recorder.notes) == ([("probes", 4)], [])
    with Database(store) as database:
        coverage = database.query("coverage").to_pylist()
    assert {(row["study"], row["status"]) for row in coverage} == {("study", "done"), ("probe+knn", "done")}
    assert len(coverage) == 2 + 4
    again, recorder = add(store, pool, "knn", "ncm")
    assert (again.counts["cells"], again.counts["cells_wanted"]) == (2, 4)


@pytest.mark.slow
def test_probing_loads_no_library_of_networks(pool, study_file, store):
    """In a process of its own, which shows what planning and fitting import."""
    run(study_file(1), store, pool)
    code = f"""
import sys
from cluster.runs.stored_runs import add_probes
from cluster.pool.units import Hands
from cluster.study.probe_settings import probe_settings
from cluster.reporting.progress import PlainReporter
from featurestore import FeatureStore

class Here:
    def run(self, lanes, *, note):
        (lane,) = lanes
        while attempt := lane.queue.take():
            lane.on_outcome(attempt.task, attempt.task.run(Hands("cpu", 1)), "here")

store = FeatureStore.open({store.uri!r})
settings = probe_settings(probes=["ridge"], options=[])
print(add_probes(settings, store, pool=Here(), reporter=PlainReporter()).counts["cells"])
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cells, modules = done.stdout.split("\n", 1)
    assert cells == "1"
    assert not {"timm", "torchvision", "torch", "ray"} & set(modules.split())


def test_a_probe_that_fails_leaves_the_others_alone(pool, study_file, store):
    run(study_file(1), store, pool)
    summary, recorder = add(store, pool, "lda", "ncm", n_per_class=[1], few_shot_seeds=1)
    (failed,) = [work.failure.message for work in summary.failures]
    assert "two different images of some class" in failed
    assert (summary.counts["cells"], len(recorder.failures)) == (3, 1)
    with Database(store) as database:
        assert database.query("open_failures").num_rows == 1


def test_few_shot_tasks_take_what_there_is_and_that_is_said_first(pool, study_file, store):
    run(study_file(1), store, pool)
    summary, recorder = add(store, pool, "ncm", n_per_class=[1000], few_shot_seeds=3)
    assert (summary.counts["cells"], summary.failures) == (2, [])
    (note,) = recorder.notes
    assert re.fullmatch(
        r"No class of pets has 1000 training images: few-shot tasks with n_per_class = 1000 use all \d+, in one draw.",
        note,
    )


def test_a_probe_that_no_network_allows_is_left_out_and_said(pool, study_file, store):
    run(study_file(1), store, pool)
    summary, recorder = add(store, pool, "leep")
    assert (summary.counts["cells_wanted"], summary.failures) == (0, [])
    assert recorder.notes == [
        "No linear classifier of tiny_0 is in the store, so these probes are left out there: leep."
    ]


def test_probes_are_added_where_three_complete_sets_belong_together(pool, study_file, store):
    run(study_file(2), store, pool)
    lost = next(item for item in store.sets() if isinstance(item, FeatureSet) and item.model == "tiny_0")
    (Path(store.uri) / lost.folder / "manifest.json").unlink()
    summary, recorder = add(store, pool, "ncm")
    assert (summary.counts["cells"], recorder.notes) == (1, [])
    for table in ("cells", "results", "progress"):
        for path in Path(store.uri, table).glob("*.parquet"):
            path.unlink()
    with pytest.raises(MissingFeaturesError, match=r"There is nothing to probe .*probestore run STUDY"):
        add(store, pool, "ncm")


@pytest.mark.slow
def test_features_that_no_study_wants_any_more_are_said(pool, study_file, store):
    study = study_file(2)
    run(study, store, pool)
    for path in (Path(store.uri) / "results").glob("*.parquet"):
        path.unlink()
    run(study_file(1), store, pool)
    summary, recorder = add(store, pool, "ncm")
    assert summary.counts["cells_wanted"] == 1
    assert [note for note in recorder.notes if "tiny_1 on pets is left out" in note]


@pytest.mark.slow
def test_a_run_that_was_killed_twice_ends_with_the_rows_of_an_undisturbed_one(study_file, tmp_path):
    """SIGKILL to the whole run once some shards of features are published, then the same command again."""
    study = study_file(2)
    command = [sys.executable, "-m", "cluster.cli", "run", str(study), "--local", "--store"]
    undisturbed, killed = (str(tmp_path / name) for name in ("undisturbed", "killed"))
    subprocess.run([*command, undisturbed], check=True, capture_output=True)
    for n_shards in (2, 5):
        kill_after(n_shards, [*command, killed], Path(killed))
        assert not FeatureStore.open(killed).names("results"), "the run was over before it was killed"
    subprocess.run([*command, killed], check=True, capture_output=True)
    one, two = FeatureStore.open(undisturbed), FeatureStore.open(killed)
    assert feature_bytes(one) == feature_bytes(two)
    for table in ("samples", "results", "tuning", "predictions", "cells", "models", "datasets"):
        assert rows(one, table, without=TIMES) == rows(two, table, without=TIMES), table


def kill_after(n_shards, command, store):
    """Run the command until the store has so many shards of features."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(store.glob("features/**/part-*.parquet"))) < n_shards and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
