import importlib
import subprocess
import sys
from types import ModuleType

import pytest
from locations import ROOT

from cluster.console import listings
from featurestore import registry
from featurestore.catalogue.datasets import known_datasets
from featurestore.catalogue.models import CATALOGUE, known_models
from featurestore.errors import UnknownNameError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A real installed distribution: its module and its metadata on the path."""

    def make(module: str, code: str, *models: str, datasets: str = "") -> None:
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        points = "".join(f"{name} = {module}:{name}\n" for name in models)
        (info / "entry_points.txt").write_text(f"[probestore.models]\n{points}\n[probestore.datasets]\n{datasets}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    monkeypatch.syspath_prepend(tmp_path)
    return make


def test_a_module_of_a_folder_is_looked_for_once_and_one_that_comes_later_is_found(tmp_path, monkeypatch):
    package = ModuleType("growing")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "growing", package)
    looked = []
    monkeypatch.setattr(registry, "names", lambda package, names=registry.names: looked.append(1) or names(package))
    with pytest.raises(UnknownNameError, match="There are: "):
        registry.load(package, "probe", "late")
    (tmp_path / "late.py").write_text("A = 1\n")
    importlib.invalidate_caches()
    assert [registry.load(package, "probe", "late").A for _ in range(3)] == [1, 1, 1]
    assert len(looked) == 2
    monkeypatch.delitem(sys.modules, "growing.late")


RECORDS = (
    "from featurestore.catalogue.datasets import DatasetSpec\n"
    "from featurestore.catalogue.models import ModelSpec\n"
    "one = DatasetSpec(name='zoo', source='packaged:digits')\n"
    "many = [ModelSpec(name=f'zoo_{i}', backbone='timm:resnet18') for i in range(2)]\n"
)


def test_records_of_other_packages_are_found_one_or_many(install):
    install("zoo_records", RECORDS, "many", datasets="zoo = zoo_records:one")
    assert {"zoo_0", "zoo_1"} < set(known_models())
    assert "zoo" in known_datasets()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named"),
        ("other = 1", "AttributeError"),
        ("many = 7", "it must name a ModelSpec or an iterable of them. Got 7"),
        ("many = ['resnet18']", "it must name a ModelSpec or an iterable of them. Got 'resnet18'"),
    ],
)
def test_a_broken_package_is_named_and_left_out_and_the_others_are_there(install, code, said):
    install("bad_records", code, "many")
    install("zoo_records", RECORDS, "many")
    with pytest.warns(UserWarning, match=r"many = bad_records:many .* of bad-records 1\.0 is left out: ") as caught:
        known = known_models()
    assert said in str(caught[0].message)
    assert {"zoo_0", "zoo_1", CATALOGUE[0].name} < set(known)


def test_plugins_are_listed_with_where_they_come_from_and_not_loaded(install, tmp_path):
    install("bad_records", "raise RuntimeError('loaded')", "many")
    rows = [row for row in listings.plugins().to_pylist() if row["distribution"] == "bad-records 1.0"]
    assert rows == [
        {
            "group": "probestore.models",
            "name": "many",
            "value": "bad_records:many",
            "distribution": "bad-records 1.0",
            "folder": str(tmp_path),
        }
    ]


def test_code_of_other_packages_does_not_run_until_models_or_datasets_are_looked_up(install, tmp_path):
    install("loud_records", f"open({str(tmp_path / 'ran')!r}, 'w')", "many", datasets="zoo = loud_records:one")
    code = "import featurestore, probes, queries, cluster.cli; "
    code += "from cluster.console.listings import sources, plugins; plugins()"
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; "
    subprocess.run([sys.executable, "-c", path + code], check=True)
    assert not (tmp_path / "ran").exists()
