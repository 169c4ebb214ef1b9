import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from locations import MARKED_FOLDERS, ROOT, TESTS


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_imports_point_one_way_without_cycles_and_the_mathematics_does_no_io():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("featurestore", {"torch", "sklearn", "ray", "duckdb", "PIL"}),
        ("probes", {"torch", "sklearn", "ray", "duckdb"}),
        ("queries", {"torch", "sklearn", "ray", "duckdb", "vl_convert"}),
        ("cluster.cli", {"torch", "sklearn", "ray", "duckdb", "vl_convert"}),
    ],
)
def test_importing_a_package_is_light(package, heavy):
    assert not heavy & modules_after(f"import {package}")


@pytest.mark.parametrize("package", ["featurestore", "probes", "queries"])
def test_what_a_package_exports_is_there(package):
    module = __import__(package)
    public = {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert set(module.__all__) == public - {"annotations"}


def test_module_names_are_unique_across_packages_but_for_the_registries_and_what_make_reference_runs():
    registries = ("backbones", "sources", "methods", "solvers", "commands", "kinds", "sections")
    names = [
        path.stem
        for package in ("featurestore", "probes", "queries", "cluster")
        for path in (ROOT / package).rglob("*.py")
        if path.parent.name not in registries and path.stem not in ("__init__", "reference")
    ]
    assert sorted(names) == sorted(set(names))


def test_tests_lie_in_the_folders_of_what_they_test():
    """Those that are slow by nature, and those of the whole, lie beside the packages' folders."""
    packages = {"featurestore", "probes", "queries", "cluster"}
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    assert {folder.parts[0] for folder in folders} <= packages | set(MARKED_FOLDERS)
    assert [str(folder) for folder in folders if folder.parts[0] in packages and not (ROOT / folder).is_dir()] == []


def test_quick_and_test_and_long_take_every_test_exactly_once():
    """`make quick` leaves out what folders mark; `make test` leaves out long, which `make long` runs."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f'-m "not ({" or ".join(dict.fromkeys(MARKED_FOLDERS.values()))})"' in lines
    assert '-m "not long"' in lines
    assert "$(PYTEST) -m long" in lines


def test_what_needs_ray_or_s3_or_a_browser_lies_in_the_folder_that_says_so():
    by_folder = re.compile(r"mark\.(ray|s3|browser)\b")
    assert [str(path) for path in TESTS.rglob("test_*.py") if by_folder.search(path.read_text("utf-8"))] == []
