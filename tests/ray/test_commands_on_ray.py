"""`probestore run` on Ray, in a process of its own, as a user would run it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ray_cluster import descendants

from featurestore import FeatureStore


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_and_the_next_run_finishes(study_file, tmp_path, number, code):
    """Ctrl-C while Ray starts, SIGTERM while it works: a last sentence, nothing left, and a store to go on with."""
    command = [Path(sys.executable).parent / "probestore", "run", study_file(1), "--store", tmp_path / "s"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "features: " not in process.stderr.readline():
        assert process.poll() is None
    if number == signal.SIGTERM:
        wait_until(lambda: list((tmp_path / "s").glob("samples/**/part-*")))
    before = list(descendants(process.pid))
    assert before or number == signal.SIGINT
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, "Finished work is stored. Run the same command again" in err) == (code, True), err
    assert err.count("\n") < 8, err  # no words of Ray
    assert not list((tmp_path / "s" / "_staging").iterdir())
    left = [one for one in before if Path(f"/proc/{one}/cmdline").exists()]
    assert not [one for one in left if b"ray" in Path(f"/proc/{one}/cmdline").read_bytes()]
    done = subprocess.run([*command, "--local"], capture_output=True, text=True, check=False)
    assert (done.returncode, len(FeatureStore.open(str(tmp_path / "s")).names("results"))) == (0, 1)


def test_storage_options_reach_the_workers_and_are_shown_and_stored_nowhere(
    cluster, bucket, endpoint, study_file, monkeypatch
):
    """No variable says where the endpoint is, or who asks."""
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "AWS_ENDPOINT_URL" not in cluster.env
    options = {"endpoint": endpoint, "region": "us-east-1", "access_key": "testing", "secret_key": "hidden-secret"}
    given = [f"--storage-option={name}={value}" for name, value in options.items()]
    command = [Path(sys.executable).parent / "probestore", "run", study_file(1), "--store", f"{bucket}/store", *given]
    command += ["--address", cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=cluster.env)
    assert "Computed 40 image features and 1 new cell; the study has 1." in done.stderr
    assert "hidden-secret" not in done.stdout + done.stderr
    storage = FeatureStore.open(f"{bucket}/store", storage_options=options).storage
    assert not any(b"hidden-secret" in storage.read_bytes(name) for name in storage.list_files(""))
