"""`probestore data check` and the notes of a plan: what datasets hold, before anything is computed."""

import json
import sys

import pytest
from tiny import save_images

from cluster.cli import main
from cluster.runs.data_check import check_data
from cluster.study.study_file import read_study
from featurestore.errors import UnknownNameError


@pytest.fixture
def study_path(tmp_path):
    """A study of a good dataset with junk in it and one whose test images have no labels."""
    for split, number in (("train", 0), ("test", 1)):
        save_images(tmp_path / "pets" / split, {"cats": 6, "dogs": 8}, seed=number)
    (tmp_path / "pets" / "train" / "Thumbs.db").write_bytes(b"x")
    save_images(tmp_path / "pets" / "eval", {"cats": 2})
    save_images(tmp_path / "flat" / "train", {"cats": 6, "dogs": 6})
    save_images(tmp_path / "flat", {"test": 3})
    path = tmp_path / "study.toml"
    path.write_text(
        '[[model]]\nname = "none"\nbackbone = "timm:resnet18"\nweights = "none"\n'
        '[[dataset]]\nname = "pets"\nsource = "image_folder:pets"\n'
        '[[dataset]]\nname = "flat"\nsource = "image_folder:flat"\n'
    )
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["probestore", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def test_everything_in_a_dataset_is_counted_with_its_use_and_then_its_splits(study_path):
    table, unusable = check_data(read_study(study_path), ["pets"])
    rows = {(row["thing"], row["used_as"], row["why"]): row["count"] for row in table.to_pylist()}
    assert unusable == []
    files = [count for (thing, _, _), count in rows.items() if thing == "file"]
    assert sum(files) == 14 + 14 + 1 + 2
    assert rows["image", "test", "all 14 test images of the source"] == 14
    assert rows["image", "train", "all 14 train images of the source, less 3 for val"] == 11
    (images,) = [row["examples"] for row in table.to_pylist() if (row["thing"], row["used_as"]) == ("image", "test")]
    assert images == "6 (cats) to 8 (dogs) of a class"


def test_a_dataset_that_cannot_be_used_is_a_row_with_the_problem_and_exit_code_1(study_path, command):
    code, out, err = command("data", "check", study_path, "--format", "json")
    rows = json.loads(out)
    assert code == 1
    assert "1 dataset cannot be used: flat" in err
    (problem,) = [row for row in rows if row["thing"] == "problem"]
    assert "'test' has 3 images in no class folder" in problem["why"]
    assert sum(row["count"] for row in rows if (row["dataset"], row["thing"]) == ("flat", "file")) == 15
    assert command("data", "check", study_path, "pets")[0] == 0


def test_a_dataset_that_the_study_lacks_is_named(study_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'pets'"):
        check_data(read_study(study_path), ["pet"])


def test_a_plan_says_what_is_odd_in_the_datasets(study_path, command, tmp_path):
    code, _, err = command("plan", study_path, "--store", tmp_path / "store")
    assert code == 1
    assert "Dataset pets: 2 files left out: 'eval' is not known as the name of a split" in err


@pytest.mark.parametrize("what", ["plan", "run"])
def test_where_no_dataset_can_be_used_the_exit_code_is_2_and_nothing_is_computed(study_path, command, tmp_path, what):
    text = study_path.read_text()
    study_path.write_text(text[: text.index("[[dataset]]")] + text[text.rindex("[[dataset]]") :])
    more = ["--local"] if what == "run" else []
    code, out, err = command(what, study_path, "--store", tmp_path / "store", *more)
    assert code == 2
    assert "give the dataset `splits = {train" in out + err.replace("\n", " ")
    assert not list(tmp_path.glob("store/features/**/part*"))
