"""A study against a store, read only: what `probestore plan` shows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.reporting.progress import PlainReporter
from cluster.runs.estimate import summary_lines
from cluster.runs.planning import existing_store, plan_study
from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from featurestore import FeatureSet, FeatureStore
from featurestore.errors import StoreError, UnknownNameError

BROKEN = '[[model]]\nname = "broken"\nbackbone = "python:tiny_network:broken"\nweights = "none"\ninput_size = 16\n'
NOWHERE = (
    '[[model]]\nname = "absent"\nbackbone = "python:tiny_network:no_such"\nweights = "none"\ninput_size = 16\n'
    '[[dataset]]\nname = "nowhere"\nsource = "image_folder:nowhere"\n'
)


@pytest.fixture(autouse=True)
def own_modules():
    """What planning imports from the folder of a test is gone after it."""
    path = list(sys.path)
    yield
    sys.modules.pop("tiny_network", None)
    sys.path[:] = path


@pytest.fixture
def ran(pool, store):
    def run(path: Path) -> FeatureStore:
        run_study(read_study(path), store, pool=pool, reporter=PlainReporter())
        return store

    return run


def contents(store: FeatureStore) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(store.uri).rglob("*")}


def test_without_a_store_everything_is_missing_and_none_is_made(study_file, tmp_path):
    place = tmp_path / "not yet"
    assert existing_store(str(place)) is None
    (row,) = plan_study(read_study(study_file(1)), None)
    assert (row.images, row.block("shards").wanted, row.block("shards").missing, row.block("shards").amount) == (
        40,
        6,
        6,
        40,
    )
    assert (row.block("cells").wanted, row.block("cells").missing, row.worker_seconds, row.problem) == (
        1,
        1,
        None,
        None,
    )
    assert not place.exists()


def test_the_size_is_that_of_the_missing_features_where_their_width_is_known(study_file):
    path = study_file(1)
    (row,) = plan_study(read_study(path), None)
    assert row.bytes_missing is None
    path.write_text(path.read_text().replace("input_size = 16\n", "input_size = 16\nfeature_dim = 32\n"))
    (row,) = plan_study(read_study(path), None)
    assert row.bytes_missing == 40 * 32 * 2


def test_what_a_run_made_is_not_missing_and_what_a_new_model_takes_is_estimated(study_file, ran):
    store = ran(study_file(1))
    before = contents(store)
    done, new = plan_study(read_study(study_file(2)), store)
    assert (*done.block("shards")[:2], *done.block("cells")[:2], done.worker_seconds) == (6, 0, 1, 0, 0)
    assert (new.block("shards").missing, new.block("cells").missing, new.worker_seconds) == (6, 1, None)
    (again,) = plan_study(read_study(study_file(1, "[probe]\nseed = 1\n")), store)
    assert (again.block("shards").missing, again.block("cells").missing) == (0, 1)
    assert again.worker_seconds > 0
    assert contents(store) == before


def test_a_plan_counts_lost_shards_and_their_images_and_knows_how_long_they_took(study_file, ran):
    store = ran(study_file(1))
    lost = next(item for item in store.sets() if isinstance(item, FeatureSet) and item.split == "train")
    folder = Path(store.uri) / lost.folder
    (folder / "manifest.json").unlink()
    (folder / "part-00001-of-00004.parquet").unlink()
    (row,) = plan_study(read_study(study_file(1)), store)
    assert (row.block("shards").missing, row.block("shards").amount, row.block("cells").missing) == (1, 8, 0)
    assert row.worker_seconds > 0


def test_what_failed_before_is_a_problem_until_it_would_be_tried(study_file, ran):
    store = ran(study_file(1, BROKEN))
    fine, broken = plan_study(read_study(study_file(1, BROKEN)), store)
    assert fine.problem is None
    assert broken.problem.startswith("failed before, not tried again without --retry-failed: ")
    mended = BROKEN.replace("tiny_network:broken", "tiny_network:build")
    assert [row.problem for row in plan_study(read_study(study_file(1, mended)), store)] == [None, None]


def test_a_probe_that_failed_before_is_a_problem(study_file, ran):
    too_few = '[probe]\nprobes = ["lda"]\nn_per_class = [1]\nfew_shot_seeds = 2\n'
    store = ran(study_file(1, too_few))
    (row,) = plan_study(read_study(study_file(1, too_few)), store)
    assert (row.block("cells").wanted, row.block("cells").missing) == (3, 2)
    assert row.problem.endswith("(and 1 more)")


def test_what_cannot_be_planned_has_rows_of_its_own(study_file):
    absent, nowhere, fine = plan_study(read_study(study_file(1, NOWHERE)), None)
    assert (absent.model, absent.dataset, "no_such" in absent.problem) == ("absent", None, True)
    assert (nowhere.model, nowhere.dataset, "nowhere" in nowhere.problem) == (None, "nowhere", True)
    assert (fine.model, fine.dataset, fine.problem) == ("tiny_0", "pets", None)


def test_a_name_that_nothing_answers_to_ends_the_plan(study_file):
    with pytest.raises(UnknownNameError, match="Did you mean 'timm'"):
        plan_study(read_study(study_file(1, '[[model]]\nname = "net"\nbackbone = "tim:resnet18"\n')), None)


def test_every_tap_has_its_shards_and_the_network_runs_once(study_file):
    (row,) = plan_study(read_study(study_file(1, '[extract]\ntaps = ["penultimate", "pooled"]\n')), None)
    assert (row.images, row.block("shards").wanted, row.block("shards").amount, row.block("cells").wanted) == (
        40,
        12,
        40,
        2,
    )


def test_a_place_with_something_else_in_it_is_no_store(tmp_path, store):
    (tmp_path / "other").mkdir()
    assert existing_store(str(tmp_path / "other")) is None
    (tmp_path / "other" / "file").write_text("")
    for place in (tmp_path / "other", tmp_path / "other" / "file"):
        with pytest.raises(StoreError, match="must name a store, or an empty or new folder"):
            existing_store(str(place))
    assert existing_store(store.uri).uri == store.uri


@pytest.mark.slow
def test_the_command_shows_rows_says_the_sum_and_starts_no_ray(study_file, tmp_path):
    """In a process of its own, as a user would run it."""
    code = (
        "import atexit, sys; atexit.register(lambda: print('ray' in sys.modules, file=sys.stderr)); "
        "from cluster.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "plan", study_file(2), "--store", tmp_path / "none", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [(row["model"], row["shards_missing"]) for row in rows] == [("tiny_0", 6), ("tiny_1", 6)]
    said = done.stderr.splitlines()
    assert said[0].endswith("(yet to be made)")
    assert said[1].startswith("Missing: 12 of 12 shards (80 images x models, ")
    assert said[-1] == "False"


def test_where_nothing_was_measured_a_few_images_can_be_tried(study_file):
    rows = plan_study(read_study(study_file(1)), None, measure=True)
    assert rows[0].block("shards").seconds > 0
    assert "and the time of 1 cells that is not known yet" in summary_lines(rows)[1]


def test_a_network_that_cannot_be_measured_has_a_row_of_its_own(study_file):
    broken, *_ = plan_study(read_study(study_file(1, BROKEN)), None, measure=True)
    assert (broken.model, broken.dataset) == ("broken", None)
    assert broken.problem
