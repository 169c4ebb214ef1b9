"""Users without a home that can be used."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from cluster.console import homes


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files; every variable that is about a user is as it was when the test is over."""
    (folder := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in ("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.mark.usefixtures("unknown_user")
@pytest.mark.parametrize("home", [None, "", "relative", "/no/such/folder"])
def test_a_folder_that_only_the_user_can_read_takes_the_place_of_a_home(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    if home is not None:
        monkeypatch.setenv("HOME", home)
    said = homes.make_usable()
    own = temporary / f"probestore-home-{os.getuid()}"
    assert said is not None
    assert f"so {own} takes its place" in said
    assert os.environ["HOME"] == str(own)
    assert own.stat().st_mode & 0o777 == 0o700
    assert os.environ["LOGNAME"] == f"user-{os.getuid()}"
    assert homes.make_usable() is None  # of a process that has got it from this one


@pytest.mark.usefixtures("unknown_user")
def test_a_folder_that_somebody_else_could_have_made_is_not_used(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir()
    (temporary / f"probestore-home-{os.getuid()}").symlink_to(temporary / "elsewhere")
    homes.make_usable()
    assert Path(os.environ["HOME"]).parent == temporary
    assert Path(os.environ["HOME"]).name not in ("elsewhere", f"probestore-home-{os.getuid()}")


def test_a_home_of_the_list_of_users_is_taken_where_no_variable_names_one(temporary: Path) -> None:
    expected = pwd.getpwuid(os.getuid()).pw_dir
    assert homes.make_usable() is None
    assert os.environ["HOME"] == expected


def test_a_home_that_cannot_be_written_keeps_its_weights_and_gets_other_caches(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".cache" / "torch").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert homes.make_usable() is None
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(home))
    said = homes.make_usable()
    assert said is not None
    assert said.startswith(f"The home folder {home} cannot be written")
    cache = temporary / f"probestore-cache-{os.getuid()}"
    assert {name: os.environ.get(name) for name in ("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME")} == {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache),
        "TORCH_HOME": str(home / ".cache" / "torch"),
        "HF_HOME": None,
    }


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv, to be another user"
)
def test_a_user_of_no_list_starts_ray(tmp_path: Path) -> None:
    program = (
        "from cluster.console import homes; homes.make_usable(); import ray; ray.init(address='local', num_cpus=1)"
    )
    capability = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]  # Python may lie in root's home
    user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *capability]
    tmp_path.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "TMPDIR": str(tmp_path)}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # short, for its sockets
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [*user, sys.executable, "-c", program],
            env=environment | {"RAY_TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
    assert done.returncode == 0, done.stderr
