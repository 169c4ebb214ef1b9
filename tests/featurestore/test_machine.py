import os
import subprocess
import sys

import pytest

from featurestore import machine
from featurestore.machine import available_cpus, available_memory

ASK = "from featurestore.machine import available_cpus; print(available_cpus())"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux restricts a process to some cores")
def test_cores_that_a_process_may_not_use_are_not_counted():
    def one_core() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, preexec_fn=one_core)
    assert done.stdout == "1\n"


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Give this process control groups: the lines that the kernel has of it, and the files of the groups."""

    def make(lines: str, files: dict[str, str]) -> None:
        for name, text in {"proc/self/cgroup": lines, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)
    return make


def test_a_system_without_affinities_counts_all_cores(groups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cpus() == os.cpu_count()


@pytest.mark.parametrize(
    ("lines", "files", "cores"),
    [
        ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "400000 100000\n"}, 4),
        ("0::/job/step\n", {"sys/fs/cgroup/job/cpu.max": "800000 100000", "sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ("0::/on/the/host\n", {"sys/fs/cgroup/cpu.max": "150000 100000"}, 1),
        ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "20000 100000"}, 1),
        ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "max 100000"}, 32),
        ("0::/job\n", {"sys/fs/cgroup/job/cpu.max": "what"}, 32),
        (
            "3:cpu,cpuacct:/docker/x\n0::/\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "600000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            6,
        ),
        ("3:cpu,cpuacct:/\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, 32),
        ("3:cpuset:/a\n", {"sys/fs/cgroup/cpuset/a/cpu.max": "100000 100000"}, 32),
    ],
)
def test_the_quota_of_a_container_counts(groups, lines, files, cores):
    groups(lines, files)
    assert available_cpus() == cores


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        ("0::/job/step\n", {"sys/fs/cgroup/job/memory.max": "4096\n", "sys/fs/cgroup/job/step/memory.max": "max"}),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4096"}),
    ],
)
def test_the_memory_limit_of_a_container_counts(groups, lines, files):
    groups(lines, files)
    assert available_memory() == 4096


def test_a_limit_beyond_the_machine_is_none(groups):
    groups("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"})
    assert available_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_this_machine_can_be_asked():
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
    assert available_memory() > 2**20
