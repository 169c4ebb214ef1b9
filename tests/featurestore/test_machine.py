import os
import subprocess
import sys

import pytest

from featurestore.machine import available_cpus

ASK = "from featurestore.machine import available_cpus; print(available_cpus())"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux restricts a process to some cores")
def test_cores_that_a_process_may_not_use_are_not_counted():
    def one_core() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, preexec_fn=one_core)
    assert done.stdout == "1\n"


def test_a_system_without_affinities_counts_all_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cpus() == os.cpu_count()
