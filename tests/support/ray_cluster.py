"""A Ray cluster of several nodes on one machine, made of real processes that can be killed and added."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from locations import ROOT

OBJECT_STORE_BYTES = 80 * 1024**2
# A node counts as dead after five seconds without a sign of life, not fifteen.
FASTER = {"health_check_period_ms": 1000}


def descendants(pid: int) -> dict[int, str]:
    """Processes below one, and their command lines."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
    found, reached = {}, {pid}
    while new := {child for child, parent in parents.items() if parent in reached} - reached:
        reached |= new
        found.update((child, names[child]) for child in new)
    return found


def kill(*pids: int) -> None:
    """SIGKILL; a process that is gone already is none the worse for it."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class NodeFailedError(Exception):
    """A node that did not come up."""


class Node:
    """A raylet and what belongs to it.

    Parameters
    ----------
    *options : str
        Of ``ray start``.
    env : mapping of str to str
        Variables of its processes.
    resources : mapping of str to float, optional
        What it has beside CPUs and GPUs.
    hide : Path, optional
        A folder that it does not see as it is.
    """

    def __init__(
        self,
        *options: str,
        env: Mapping[str, str],
        resources: Mapping[str, float] | None = None,
        hide: Path | None = None,
    ) -> None:
        self.resources = dict(resources or {})
        self.hides = hide is not None
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
        command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--dashboard-agent-listen-port=0"]
        command += [f"--resources={json.dumps(self.resources)}", *options]
        if hide:  # in a mount namespace of its own, where another file system lies over the folder
            hiding = ["sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hide)]
            command = ["unshare", "--map-root-user", "--mount", *hiding, *command]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the node
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True, env=dict(env)
        )

    def wait_for(self, text: str) -> re.Match[str]:
        """Wait until it says so.

        Raises
        ------
        NodeFailedError
            If it ends before, as Ray does when a busy machine lets it wait for more than thirty seconds.
        """
        while self.process.poll() is None:
            if found := re.search(text, self._said()):
                return found
            time.sleep(0.1)
        raise NodeFailedError(self._said())

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def is_up(self) -> bool:
        """Whether its raylet runs."""
        return any("/raylet/raylet" in name for name in descendants(self.process.pid).values())

    def workers(self) -> list[int]:
        """Its processes that do work."""
        below = descendants(self.process.pid)
        return [pid for pid, name in below.items() if name.startswith("ray::") and "Agent" not in name]

    def lose(self) -> None:
        """SIGKILL to the raylet, which takes all that is on the node with it."""
        below = descendants(self.process.pid)
        kill(*(pid for pid, name in below.items() if "/raylet/raylet" in name or name.startswith("ray::")))

    def stop(self) -> None:
        """SIGKILL to all of it."""
        below = descendants(self.process.pid)
        kill(self.process.pid, *below)
        self.process.wait()
        self._log.close()


class RayCluster:
    """A head that does no work; nodes are added."""

    def __init__(self) -> None:
        # A token of its own: nobody else's processes can join, by whatever accident.
        self.env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Two cores with four nodes on them may need more than Ray's thirty seconds to start a client's server.
        self.env["RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S"] = "120"
        self.client_port = _free_port()
        self._folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a short path: sockets lie in it
        self.nodes: list[Node] = []
        self.head = Node(
            "--head",
            "--port=0",
            "--num-cpus=0",
            "--num-gpus=0",
            "--include-dashboard=false",
            f"--temp-dir={self._folder}",
            f"--ray-client-server-port={self.client_port}",
            f"--system-config={json.dumps(FASTER)}",
            env=self.env,
        )
        self.address = self.head.wait_for(r"--address='([^']+)'")[1]

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in [*self.nodes, self.head]:
            node.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(
        self,
        *,
        cpus: int = 1,
        resources: Mapping[str, float] | None = None,
        hide: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Node:
        """Another node. One at a time: two that start at once may choose the same ports."""
        asked = [f"--num-cpus={cpus}", "--num-gpus=0"]
        for attempt in range(3):
            own = {**self.env, **(env or {})}
            node = Node(f"--address={self.address}", *asked, env=own, resources=resources, hide=hide)
            self.nodes.append(node)
            try:
                node.wait_for("Ray runtime started")
            except NodeFailedError:
                self.remove(node)
                if attempt == 2:
                    raise
            else:
                break
        return node

    def restore(self, wanted: Sequence[Mapping[str, float]]) -> None:
        """Have nodes of one CPU with these resources and no others: those that are there stay."""
        missing = list(wanted)
        for node in list(self.nodes):
            if node.is_up() and not node.hides and node.resources in missing:
                missing.remove(node.resources)
            else:
                self.remove(node)
        for resources in missing:
            self.add(resources=resources)

    def remove(self, node: Node) -> None:
        """Take a node away at once."""
        self.nodes.remove(node)
        node.lose()
        node.stop()

    def driver(self, study: Path, store: Path, *, address: str | None = None) -> subprocess.Popen[str]:
        """``probestore run`` on this cluster."""
        command = [sys.executable, "-m", "cluster.cli", "run", str(study), "--store", str(store)]
        return subprocess.Popen(
            [*command, "--address", address or self.address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.env,
        )


@contextmanager
def killed_at_the_end(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Nothing of ours outlives a test."""
    try:
        yield
    finally:
        for process in processes:
            kill(process.pid)
            process.communicate()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
