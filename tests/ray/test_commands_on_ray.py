"""`probestore run` on Ray, in a process of its own, as a user would run it."""

import signal
import subprocess
import sys
from pathlib import Path

from featurestore import FeatureStore


def test_an_interrupt_stops_cleanly_and_the_next_run_finishes(study_file, tmp_path):
    """Ctrl-C while Ray starts or works: exit code 130, a sentence, and a store that the same command completes."""
    command = [Path(sys.executable).parent / "probestore", "run", study_file(1), "--store", tmp_path / "s"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "features: " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, "Stopped. Finished work is stored" in err) == (130, True), err
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
