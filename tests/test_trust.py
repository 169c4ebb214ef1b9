"""Nothing that is loaded is run: what the packages may not call, outside a short list that says why."""

import ast

import pytest
from locations import ROOT

PACKAGES = ("featurestore", "probes", "queries", "cluster")

FORBIDDEN_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "ray.cloudpickle", "shelve", "subprocess"}
FORBIDDEN_NAMES = {
    "__import__",
    "builtins.eval",
    "builtins.exec",
    "compile",
    "eval",
    "exec",
    "importlib.import_module",
    "numpy.fromfile",
    "os.execv",
    "os.popen",
    "os.spawnv",
    "os.system",
    "pandas.read_pickle",
    "pty.spawn",
    "runpy.run_module",
    "runpy.run_path",
    "shutil.unpack_archive",
    "torch.hub.load",
    "yaml.load",
    "yaml.unsafe_load",
}
FORBIDDEN_METHODS = {"extract", "extractall", "import_module", "load_module"}  # of whatever object
REQUIRED_ARGUMENTS = {"numpy.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}

ALLOWED = {
    ("cluster/pool/node_facts.py", "subprocess.run"),  # nvidia-smi, which says what cards a node has
    ("cluster/pool/node_facts.py", "subprocess.SubprocessError"),
    ("featurestore/images/sources/packaged.py", "pickle.Unpickler"),  # its find_class knows only numpy arrays
    ("featurestore/networks/checkpoint_file.py", "pickle.UnpicklingError"),  # what torch.load(weights_only=True) raises
    ("featurestore/registry.py", "importlib.import_module"),  # a file of one of our own folders
    ("featurestore/networks/user_modules.py", "importlib.import_module"),  # the module that a study names
    ("probes/solvers/cuml.py", "importlib.import_module"),  # cuml and cupy, which may not be installed
}


def dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """``numpy.load`` for ``np.load`` after ``import numpy as np``; empty for what is no plain name."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, aliases)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> dotted name of everything that a file imports."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                found[name.asname or name.name.split(".")[0]] = name.name if name.asname else name.name.split(".")[0]
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return found


def violations(code: str) -> set[str]:
    tree = ast.parse(code)
    aliases, found = imported(tree), set()
    for node in ast.walk(tree):
        name = dotted(node, aliases)
        if name in FORBIDDEN_NAMES or name.rpartition(".")[0] in FORBIDDEN_MODULES:
            found.add(name)
        if isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_MODULES:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Call):
            found |= _bad_call(node, dotted(node.func, aliases))
    return found


def _bad_call(node: ast.Call, name: str) -> set[str]:
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in REQUIRED_ARGUMENTS:
        argument, value = REQUIRED_ARGUMENTS[name]
        given = {keyword.arg: keyword.value for keyword in node.keywords}.get(argument)
        return set() if isinstance(given, ast.Constant) and given.value is value else {name}
    return {name or method} if method in FORBIDDEN_METHODS else set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle as p\np.loads(b'')", "pickle.loads"),
        ("from pickle import load", "pickle.load"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("from torch import load\nload('x', weights_only=False)", "torch.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "numpy.load"),
        ("import numpy as np\nnp.load('x')", "numpy.load"),
        ("eval('1')", "eval"),
        ("def f():\n    import subprocess\n    subprocess.run([])", "subprocess.run"),
        ("import os\nos.system('ls')", "os.system"),
        ("import tarfile\ntarfile.open('x').extractall()", "extractall"),
    ],
)
def test_the_search_finds_what_it_looks_for(code, found):
    assert violations(code) == {found}


@pytest.mark.parametrize("code", ["import torch\ntorch.load('x', weights_only=True)", "import json\njson.load(file)"])
def test_the_search_leaves_the_rest_alone(code):
    assert not violations(code)


def test_nothing_that_is_loaded_is_run_outside_the_list():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in violations(path.read_text())
    }
    assert found == ALLOWED
