"""Modules beside a study file are imported by their path: they hide nothing, and see each other."""

import random
import statistics
import sys

import pytest

import probes
from featurestore.networks import user_modules

NAMES_OF_OTHERS = [
    "queries",
    "probes",
    "cluster",
    "featurestore",
    "random",
    "select",
    "statistics",
    "timm",
    "yaml",
    "rich",
]


@pytest.fixture
def folder(tmp_path):
    user_modules.look_in(tmp_path)
    return tmp_path


def test_files_with_names_of_others_hide_nothing_and_are_not_run(folder):
    for name in NAMES_OF_OTHERS:
        (folder / f"{name}.py").write_text("raise SystemExit('a script of the user')")
    (folder / "fs").mkdir()
    (folder / "net.py").write_text(
        "import random, statistics, probes, timm, queries.asking\nfrom featurestore import errors\nvalue = random\n"
    )
    path = list(sys.path)
    assert user_modules.import_named("net").value is random
    assert sys.path == path
    assert sys.modules["statistics"] is statistics
    assert sys.modules["probes"] is probes


@pytest.mark.parametrize("name", NAMES_OF_OTHERS)
def test_the_module_that_a_study_names_may_have_any_name(name, folder):
    (folder / f"{name}.py").write_text("value = 'mine'")
    assert user_modules.import_named(name).value == "mine"
    assert getattr(sys.modules.get(name), "value", None) != "mine"


def test_neighbours_packages_and_relative_imports_are_found_at_any_time(folder):
    (folder / "pkg" / "inner").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text("from .net import depth\n")
    (folder / "pkg" / "net.py").write_text("import layers\nfrom ..layers import WIDTH\ndepth = layers.WIDTH + WIDTH\n")
    (folder / "pkg" / "inner" / "deep.py").write_text("from pkg.net import depth\nfrom pkg import net as other\n")
    (folder / "layers.py").write_text("WIDTH = 4\n")
    (folder / "net.py").write_text(
        "import pkg.net\nimport pkg.inner.deep as deep\nfrom pkg import net, inner\n"
        "def late():\n    import later\n    return later.value + pkg.net.depth\n"
    )
    (folder / "later.py").write_text("value = 1\n")
    net = user_modules.import_named("net")
    assert net.late() == 9
    assert net.deep.other is net.net
    assert user_modules.import_named("pkg.inner.deep").depth == 8


def test_a_folder_that_is_no_package_hides_no_installed_one(folder):
    (folder / "torch").mkdir()
    (folder / "pyarrow").mkdir()
    (folder / "net.py").write_text("import torch.nn, pyarrow.parquet\n")
    assert user_modules.import_named("net").torch.nn


def test_what_is_installed_is_found_where_the_folder_has_none_of_that_name(folder):
    assert user_modules.import_named("statistics") is statistics
    with pytest.raises(ImportError, match="No module named 'nowhere'"):
        user_modules.import_named("nowhere")


def test_a_neighbour_that_is_missing_is_named_as_the_user_wrote_it(folder):
    (folder / "net.py").write_text("from layerz import X\n")
    with pytest.raises(ImportError, match=r"^No module named 'layerz'$"):
        user_modules.import_named("net")
    (folder / "other.py").write_text("from . import layerz\n")
    with pytest.raises(ImportError, match="layerz") as caught:
        user_modules.import_named("other")
    assert "probestore_folder" not in str(caught.value).replace("from 'probestore_folder", "")


def test_modules_of_two_studies_may_have_one_name(tmp_path):
    values = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.py").write_text(f"value = {name!r}")
    for name in ("one", "two", "one"):
        user_modules.look_in(tmp_path / name)
        values[name] = user_modules.import_named("net").value
    assert values == {"one": "one", "two": "two"}


def test_a_study_does_not_find_the_modules_of_the_one_before(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "net_of_one.py").write_text("")
    user_modules.look_in(tmp_path / "one")
    user_modules.import_named("net_of_one")
    user_modules.look_in(tmp_path / "two")
    with pytest.raises(ImportError, match="net_of_one"):
        user_modules.import_named("net_of_one")


def test_what_has_changed_is_read_again_its_neighbours_too(folder):
    (folder / "net.py").write_text("from layers import value")
    for value in (1, 2):
        (folder / "layers.py").write_text(f"value = {value}")
        assert user_modules.import_named("net").value == value
        user_modules.forget("net")
