"""What Ray is told when it starts on this machine, and what a user is told when it cannot."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.pool import head, ray_session
from cluster.pool.ray_session import RaySession
from featurestore.errors import ClusterLostError, ConfigurationError


class FakeRay(SimpleNamespace):
    """Ray as far as a session uses it: it notes its options, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(options={}, error=error)

    def init(self, **options: Any) -> None:
        self.options = options
        if self.error:
            raise self.error

    def shutdown(self) -> None:
        pass


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(variable, raising=False)
    return fake


def start() -> list[str]:
    notes: list[str] = []
    RaySession(None).start(notes.append)
    return notes


def test_ray_gets_the_cores_that_this_process_may_use(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "available_cpus", lambda: 3)
    assert start() == []
    assert ray.options["num_cpus"] == 3
    assert "_temp_dir" not in ray.options


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize(
    ("folder", "why"),
    [("x" * 90, "has more than the 35 bytes"), ("absent", "is no folder"), ("file", "is no folder")],
)
def test_a_folder_where_ray_cannot_have_sockets_is_passed_over_and_said(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str, why: str
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(Path, "is_dir", lambda self: self.name not in ("absent", "file"))
    monkeypatch.setenv(variable, f"/{folder}")
    assert start() == [
        f"Ray's temporary files lie in /tmp, because '/{folder}' {why}"
        f"{' that the path of a socket leaves' if len(folder) > 35 else ''}. RAY_TMPDIR names another place."
    ]
    assert ray.options["_temp_dir"] == "/tmp/ray"


def test_where_no_folder_will_do_the_message_says_what_does(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigurationError, match=r"'/tmp' cannot be written.*with the variable RAY_TMPDIR.*--local"):
        start()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/.ray"), "HOME=/dev/null, and .*RAY_TMPDIR"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/dev/shm"), r"mount it \(docker run --shm-size"),
    ],
)
def test_a_folder_that_ray_misses_comes_with_its_remedy(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    ray.error = error
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.raises(ConfigurationError, match=f"Cannot start Ray on this machine: .*{told}.*--local"):
        start()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("127.0.0.1:1", r"Nothing answers at 127.0.0.1:1 \(--address auto\).*Unset RAY_ADDRESS"),
        ("ray://127.0.0.1:1", "Nothing answers at ray://127.0.0.1:1"),
        ("somewhere", "RAY_ADDRESS, which --address auto stands for, must be host:port"),
    ],
)
def test_a_dead_address_of_the_environment_is_said_at_once(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, told: str, said: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", told)
    with pytest.raises(ConfigurationError, match=said):
        RaySession("auto").start()
    assert not ray.options


def test_another_version_on_the_head_is_told_in_full(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.error = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.56.0\n    Python: 3.12\nhere:\n  x"
    )
    with pytest.raises(ConfigurationError, match=r"Ray: 2\.56\.0 Python: 3\.12 here: x This machine and every node"):
        start()


def test_a_head_that_answers_no_more_is_a_lost_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(head, "_EVERY_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        head.watch(address)
        head.check_head()
    try:
        with pytest.raises(ClusterLostError, match=f"The Ray cluster at {address} is lost"):
            head.check_head()
    finally:
        head.watch(None)
    head.check_head()
