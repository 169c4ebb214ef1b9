"""Modules beside a study come to a node that has no copy of its folder, or another one."""

from pathlib import Path

import pytest

from featurestore.networks import user_modules
from featurestore.networks.shipped_modules import shipment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study's folder with a network, what it imports, and a script that it does not import."""
    monkeypatch.setenv("PROBESTORE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "study"
    (root / "parts").mkdir(parents=True)
    (root / "net.py").write_text("import layers\nfrom parts import deep\nvalue = layers.value + deep.value\n")
    (root / "layers.py").write_text("value = 1")
    (root / "parts" / "__init__.py").write_text("")
    (root / "parts" / "deep.py").write_text("value = 41")
    (root / "data.bin").write_bytes(b"not shipped")
    user_modules.look_in(root)
    return root


def shipped(folder: Path):
    """Imported once, as the machine does that starts a run."""
    assert user_modules.import_named("net").value == 42
    found = shipment(folder, ["net"])
    user_modules.forget("net")
    return found


def test_a_node_without_the_folder_has_the_modules_and_all_they_import(folder):
    found = shipped(folder)
    assert [path for path, _ in found.files] == ["layers.py", "net.py", "parts/__init__.py", "parts/deep.py"]
    folder.rename(folder.with_name("elsewhere"))
    found.arrive()
    user_modules.look_in(folder)
    assert user_modules.import_named("net").value == 42


def test_a_node_with_another_content_takes_what_was_shipped(folder):
    found = shipped(folder)
    (folder / "layers.py").write_text("value = 100")
    assert found.differing() == ["layers.py"]
    found.arrive()
    user_modules.look_in(folder)
    assert user_modules.import_named("net").value == 42


def test_a_node_with_the_same_files_imports_its_own(folder):
    found = shipped(folder)
    found.arrive()
    user_modules.look_in(folder)
    assert Path(user_modules.import_named("net").__file__).parent == folder


def test_what_lies_damaged_in_the_cache_of_a_node_is_not_imported(folder):
    found = shipped(folder)
    folder.rename(folder.with_name("elsewhere"))
    found.arrive()
    (kept,) = (folder.parent / "cache" / "modules").iterdir()
    (kept / "layers.py").write_text("value = 7")
    found.arrive()
    user_modules.look_in(folder)
    assert user_modules.import_named("net").value == 42


def test_modules_of_an_installation_are_not_shipped(folder):
    assert shipment(folder, ["json", "timm.models"]) is None
