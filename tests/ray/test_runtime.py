"""Starting and joining Ray, where Ray fails. Its own faults cannot be brought about at will: `ray.init` stands in."""

from __future__ import annotations

import pytest
import ray

from cluster.pool.ray_pool import RayPool
from featurestore.errors import ConfigurationError

SLOW = RuntimeError("Starting Ray client server failed. See ray_client_server_23000.err for detailed logs.")
DEAD = ConnectionAbortedError(
    "Initialization failure from server:\nTraceback (most recent call last):\n"
    "psutil.ZombieProcess: PID still exists but it's a zombie (pid=16833)"
)
OTHER = RuntimeError("Version mismatch: The cluster was started with another Ray.")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What `ray.init` will raise, one after the other."""
    errors: list[Exception] = []

    def init(**_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return errors


def test_ray_is_joined_again_when_its_server_for_the_client_did_not_come_up(said: list[Exception]) -> None:
    said += [SLOW, DEAD, OTHER]
    with pytest.raises(ConfigurationError, match="Cannot start Ray on this machine: Version mismatch"):
        RayPool().start()
    assert said == []


def test_a_server_that_never_comes_up_is_said_with_the_setting_that_gives_it_more_time(said: list[Exception]) -> None:
    said += [DEAD, SLOW, SLOW, SLOW, OTHER]
    with pytest.raises(ConfigurationError, match="RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S=120"):
        RayPool().start()
    assert said == [OTHER]


def test_what_another_try_cannot_mend_is_said_at_once(said: list[Exception]) -> None:
    said += [OTHER, SLOW]
    with pytest.raises(ConfigurationError, match="Version mismatch"):
        RayPool().start()
    assert said == [SLOW]
