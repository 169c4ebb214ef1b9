import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from locations import ROOT


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
