"""A study takes the place of another file's study of its name only where somebody says so."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from stored import PETS, cell
from tiny import TINY_NETWORK, save_images

from cluster.reporting.events import Reporters
from cluster.runs.same_name import check_same, is_of_another, left_behind
from cluster.work.ledger import Ledger
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError
from featurestore.store.wishes import wishes_of
from probes.cells.results import wanted_rows

OTHER = '[probe]\nprobes = ["ncm", "knn"]\n'
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NCM = '[probe]\nprobes = ["ncm"]\n'


@pytest.fixture
def command(command):
    """The same, with standard error in one line."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code, out, err = command(*arguments)
        return code, out, " ".join(err.split())

    return call


@pytest.fixture
def write(tmp_path):
    """Write a study of a tiny network and the same few images into a folder of its own."""
    save_images(tmp_path / "images", {"cats": 8, "dogs": 8})

    def make(folder: str, more: str = NCM) -> Path:
        path = tmp_path / folder / "study.toml"
        if not path.exists():
            shutil.copytree(tmp_path / "images", path.parent / "images")
            (path.parent / "tiny_network.py").write_text(TINY_NETWORK)
        dataset = '[[dataset]]\nname = "pets"\nsource = "image_folder:images"\n'
        model = '[[model]]\nname = "tiny"\nbackbone = "python:tiny_network:build"\nweights = "none"\ninput_size = 16\n'
        path.write_text(dataset + model + more)
        return path

    return make


def content(store: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def files_of(store: Path) -> set[str | None]:
    return set(wishes_of(FeatureStore.open(str(store)), "study")["study_file"].to_pylist())


@pytest.mark.slow
def test_a_second_file_of_a_name_is_refused_with_both_paths_and_changes_nothing(command, write, tmp_path):
    first, second, store = write("a"), write("b", OTHER), tmp_path / "store"
    assert command("run", first, "--store", store, "--local")[0] == 0
    before = content(store)
    said = (
        f"Error: A store knows a study by its name, but 'study' is the name of two: {first} was run in {store} and "
        f"wants 1 cell, and {second} wants 2 cells, 1 of them the same. Nothing was computed. To keep both, give this "
        'one a name of its own, at the top of its file: name = "study-2". To let it take the place of the other, add '
        "--replace."
    )
    for words in (["plan"], ["run", "--local"], ["run", "--dry-run"]):
        code, out, err = command(*words, second, "--store", store)
        assert (code, out, said in err) == (2, "", True), err
    assert content(store) == before


@pytest.mark.slow
def test_each_way_out_of_the_refusal_is_one(command, write, tmp_path):
    first, second, store = write("a", OTHER), write("b"), tmp_path / "store"
    assert command("run", first, "--store", store, "--local")[0] == 0
    own_name = tmp_path / "b" / "renamed.toml"
    own_name.write_text(f'name = "study-2"\n{second.read_text()}')
    assert command("run", own_name, "--store", store, "--local")[0] == 0
    assert files_of(store) == {str(first)}
    said = (
        f"1 of the 2 cells that the study 'study' wanted before ({first}) is wanted no more: 1 of knn for tiny on "
        "pets. `probestore gc` lists what nothing else needs."
    )
    for words in (["plan"], ["run", "--local"]):
        code, _, err = command(*words, second, "--store", store, "--replace")
        assert (code, said in err) == (0, True), err
    assert files_of(store) == {str(second)}
    dropped = FeatureStore.open(str(store)).read_record("dropped_cells", "study").to_pylist()
    assert [(row["probe"], row["study_file"]) for row in dropped] == [("knn", str(first))]


@pytest.mark.slow
def test_an_edited_a_moved_and_a_copied_file_are_the_same_study(command, write, tmp_path):
    path, store = write("a", OTHER), tmp_path / "store"
    assert command("run", path, "--store", store, "--local")[0] == 0
    write("a")
    assert command("run", path, "--store", store, "--local")[0] == 0
    moved = Path(shutil.copytree(tmp_path / "a", tmp_path / "copied"), "study.toml")
    path.unlink()
    code, _, err = command("run", moved, "--store", store, "--local")
    assert (code, "Nothing is missing" in err) == (0, True), err
    assert files_of(store) == {str(moved)}


@pytest.mark.slow
def test_wishes_out_of_reach_are_wanted_still_and_a_run_of_which_nothing_works_changes_none(command, write, tmp_path):
    first, store = write("a"), tmp_path / "store"
    assert command("run", first, "--store", store, "--local")[0] == 0
    other = write("b")
    shutil.rmtree(tmp_path / "b" / "images")  # a disk that is not mounted
    assert command("run", other, "--store", store, "--local")[0] == 2
    assert files_of(store) == {str(first)}
    elsewhere = Path(shutil.copytree(tmp_path / "a", tmp_path / "c"), "study.toml")
    elsewhere.write_text(elsewhere.read_text().replace('tiny"', 'other"').replace(":build", ":no_such"))
    code, _, err = command("run", elsewhere, "--store", store, "--local")
    assert (code, f"{elsewhere} wants 0 cells, none of them the same" in err) == (2, True), err


@pytest.mark.slow
def test_added_probes_leave_a_study_file_of_their_name_alone_and_say_their_command(command, write, tmp_path):
    path, store = write("a").rename(tmp_path / "a" / "probe+knn.toml"), tmp_path / "store"
    assert command("run", path, "--store", store, "--local")[0] == 0
    for _ in range(2):
        code, _, err = command("probe", "--probe", "knn", "-o", "knn.ks=[1]", "--store", store, "--local")
        assert code == 0, err
    rows = FeatureStore.open(str(store)).read_records("cells")
    assert {(row["study"], row["study_file"], row["probe"]) for row in rows} == {
        ("probe+knn", str(path), "ncm"),
        ("probe+knn-2", "probestore probe --probe knn -o 'knn.ks=[1]'", "knn"),
    }


def want(store: FeatureStore, file: str | None, *probes: str, name: str = "study") -> None:
    Ledger(name, store, Reporters(), study_file=file).want([cell(probe) for probe in probes])


def refused(store: FeatureStore, file: str | None, *probes: str) -> str | None:
    """What a study of these cells is told; None if it may run."""
    former = wishes_of(store, "study")
    ledger = Ledger("study", None, Reporters(), study_file=file)
    ledger.want([cell(probe) for probe in probes])
    try:
        check_same("study", file, store, former=former, wishes=ledger.wishes_now(former))
    except ConfigurationError as error:
        return str(error)
    return None


def test_a_store_of_before_names_no_file_so_that_any_may_be_run(store):
    want(store, None, "knn")
    assert refused(store, "/a.toml", "ncm") is None
    assert refused(store, None, "ncm") is None


def test_no_wish_at_all_is_nobodys_study(store):
    want(store, "/a.toml")
    assert refused(store, "/b.toml", "ncm") is None


def test_standard_input_is_another_file_than_any(store):
    want(store, "/a.toml", "knn")
    assert refused(store, None, "knn") is None
    assert "the study that was given on standard input wants 1 cell, none of" in (refused(store, None, "ncm") or "")


def test_a_file_that_wants_all_of_the_other_and_more_is_another_study(store):
    want(store, "/a.toml", "knn")
    assert "/b.toml wants 2 cells, 1 of them the same" in (refused(store, "/b.toml", "knn", "ncm") or "")


def test_where_two_studies_look_alike_it_is_said_what_can_differ(store):
    want(store, "/a.toml", "knn")
    former = wishes_of(store, "study")
    ledger = Ledger("study", None, Reporters(), study_file="/b.toml")
    ledger.want([cell("knn", features=replace(PETS, test_key="of-other-images"))])
    with pytest.raises(
        ConfigurationError, match=r"none of them the same. Both name the same models, .* options differ"
    ):
        check_same("study", "/b.toml", store, former=former, wishes=ledger.wanted)


def test_a_command_is_the_same_with_other_options_and_another_than_a_file(store):
    want(store, "probestore demo", "knn")
    assert refused(store, "probestore demo", "ncm") is None
    assert "add --replace" in (refused(store, "/study.toml", "ncm") or "")
    want(store, "/study.toml", "knn")
    assert "To keep both, choose another store: --store." in (refused(store, "probestore demo", "ncm") or "")


def test_one_file_has_many_paths_but_a_link_elsewhere_is_a_study_of_its_own(store, tmp_path):
    (folder := tmp_path / "folder").mkdir()
    (path := folder / "study.toml").write_text("")
    (tmp_path / "same").symlink_to(folder)
    (folder / "link.toml").symlink_to(path)
    (tmp_path / "link.toml").symlink_to(path)
    want(store, str(path), "knn")
    former = wishes_of(store, "study")
    others = [tmp_path / "same" / "study.toml", folder / "link.toml", tmp_path / "link.toml", tmp_path / "none.toml"]
    assert [is_of_another(former, str(other)) for other in others] == [False, False, True, True]


def test_many_cells_that_are_wanted_no_more_are_a_short_list_with_its_count():
    cells = [cell("knn", features=PETS, n_per_class=5, seed=seed) for seed in range(3)]
    cells += [cell(probe) for probe in ("knn", "ncm", "ridge", "lda", "logme", "logistic", "svm")]
    rows = wanted_rows(cells, "study", NOW)
    assert left_behind("study", former=rows, wishes=rows) == []
    assert left_behind("study", former=rows, wishes=rows[:0]) == [
        "10 of the 10 cells that the study 'study' wanted before are wanted no more: 4 of knn for net on pets, "
        "1 of ncm for net on pets, 1 of ridge for net on pets, 1 of lda for net on pets, 1 of logme for net on "
        "pets and 2 more. `probestore gc` lists what nothing else needs."
    ]
