"""A Ray session, which is started on this machine or joined on a cluster, and ended.

Ray is imported when a session starts, so that a run that finds nothing missing does not pay for it.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cluster.pool import stop_signals
from cluster.pool.child_processes import descendants, kill
from cluster.pool.head import unreachable, watch
from featurestore.errors import ConfigurationError
from featurestore.machine import available_cpus

_OBJECT_STORE_BYTES = 128 * 1024**2  # units and reports are a few hundred bytes; features never pass through it
_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_LEAVE = 2.0
_TRIES = 4  # of starting or joining Ray, where another may help

_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Where Ray has a socket below the folder for temporary files; none of its paths there is longer."""
_LONGEST_FOLDER = 103 - len(_SOCKET)  # the path of a socket has at most 107 bytes, on macOS 103
_OTHER_FOLDERS = ("/tmp", "/var/tmp")

# The server that the head starts for each client has thirty seconds, unless Ray is told more, and some die in their
# fork (ray-project/ray#63202), which is said in either way.
_NOT_UP_IN_TIME = "Starting Ray client server failed"
_CLIENT_SERVER_DIED = (_NOT_UP_IN_TIME, "Initialization failure from server")
_ADDRESS = re.compile(r"auto|(ray://)?[^/\s]+:\d+")


class RaySession:
    """A session of Ray, which costs nothing until it is started.

    Parameters
    ----------
    address : str, optional
        ``"auto"``, ``"host:port"`` or ``"ray://host:port"`` joins a cluster; None starts Ray on this machine.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.lost = False
        self._started = False
        self._before: dict[int, str] = {}
        self._at_a_sudden_end = ExitStack()

    def start(self, note: Callable[[str], None] = lambda text: None) -> None:
        """Start or join Ray, unless it is running.

        Parameters
        ----------
        note : callable
            Receiver of a text, where Ray's files do not lie where the environment says.

        Raises
        ------
        ConfigurationError
            If Ray cannot be started or joined.
        """
        if not self._started:
            self._before = descendants()
            self._at_a_sudden_end.enter_context(stop_signals.at_a_sudden_end(lambda: kill(self._own_processes())))
            with stop_signals.held_back():
                self._connect(note)

    def end(self) -> None:
        """Leave or stop Ray, even if its start was interrupted. Nothing of a Ray that was started here stays."""
        watch(None)
        if self._started:
            import ray

            own = self._own_processes()
            try:
                (_leave_the_lost if self.lost else ray.shutdown)()
            finally:
                kill(own)
                self._started = False
        self._at_a_sudden_end.close()

    def _own_processes(self) -> dict[int, str]:
        """Return the processes of a Ray that was started here."""
        return {} if self.address else {one: start for one, start in descendants().items() if one not in self._before}

    def _connect(self, note: Callable[[str], None]) -> None:
        if self.address and not _ADDRESS.fullmatch(self.address):
            raise ConfigurationError(f"--address must be auto, host:port or ray://host:port. Got {self.address!r}.")
        address = _resolved(self.address) if self.address else None
        if address:
            _check_reachable(address, self.address)
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's coming default; asked for now, it changes nothing here and avoids a warning at every start.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options: dict[str, Any] = {"address": address} if address else _of_this_machine(note)
        self._started = True
        for tries_left in reversed(range(_TRIES)):
            try:
                with _in_the_root_folder(), _signals_kept():
                    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
                watch(address)
                return
            except Exception as error:  # a Ray that is slow to start raises a bare one
                ray.shutdown()
                if not tries_left or not any(text in str(error) for text in _CLIENT_SERVER_DIED):
                    raise ConfigurationError(f"Cannot start {self._where()}: {_in_short(error)}") from error

    def _where(self) -> str:
        return f"the Ray cluster at {self.address!r}" if self.address else "Ray on this machine"


def _of_this_machine(note: Callable[[str], None]) -> dict[str, Any]:
    """Return what Ray is told to start on this machine."""
    options = {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "num_cpus": available_cpus(),  # Ray itself overlooks that a process may be kept to some cores
    }
    usual = os.environ.get("TMPDIR") if sys.platform == "linux" else None  # Ray looks at it there only
    wished = os.environ.get("RAY_TMPDIR") or usual or _OTHER_FOLDERS[0]
    reason = _unfit(wished)
    if not reason:
        return options
    for folder in _OTHER_FOLDERS:
        if not _unfit(folder):
            note(f"Ray's temporary files lie in {folder}, because {wished!r} {reason}. RAY_TMPDIR names another place.")
            return {**options, "_temp_dir": f"{folder}/ray"}
    raise ConfigurationError(
        f"Ray needs a folder for its sockets that can be written and whose path has at most {_LONGEST_FOLDER} bytes. "
        f"{wished!r} {reason}, and none of {', '.join(_OTHER_FOLDERS)} will do. Name one with the variable RAY_TMPDIR, "
        "or work without Ray: --local."
    )


def _unfit(folder: str) -> str:
    """Return why Ray cannot have its sockets below a folder; nothing if it can."""
    if len(os.fsencode(Path(folder).absolute())) > _LONGEST_FOLDER:
        return f"has more than the {_LONGEST_FOLDER} bytes that the path of a socket leaves"
    if not Path(folder).is_dir():
        return "is no folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else "cannot be written"


def _in_short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    if "ersion mismatch" in str(error):
        return (
            f"{' '.join(lines)} This machine and every node must have the same version of Ray and the same minor "
            "version of Python."
        )
    told = " ".join(dict.fromkeys((lines[0], lines[-1])))  # between them there may be a traceback of Ray's own
    if "/dev/shm" in told:
        return f"{told}. Ray shares memory in /dev/shm: mount it (docker run --shm-size=256m), or add --local."
    if isinstance(error, ConnectionError):
        return (
            f"{told}. See that the cluster runs, and that RAY_AUTH_MODE and RAY_AUTH_TOKEN are "
            "as on its head, if it asks for a token."
        )
    if isinstance(error, OSError):
        return (
            f"{told}. Ray writes into the home folder, HOME={os.environ.get('HOME', '')}, and into that of RAY_TMPDIR, "
            "else TMPDIR, else /tmp. Set these variables to folders that can be written, or work without Ray: --local."
        )
    if _NOT_UP_IN_TIME in str(error):
        told += " On a busy head, start Ray with RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S=120 in its environment."
    return told


def _leave_the_lost() -> None:
    """Leave a cluster whose head is gone. Ray would wait for it, and end this process in its own way."""
    import ray

    atexit.unregister(ray.shutdown)
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(_SECONDS_TO_LEAVE)


def _resolved(address: str) -> str:
    """Return what ``auto`` stands for: the variable RAY_ADDRESS, else the cluster that was started on this machine.

    Raises
    ------
    ConfigurationError
        If it stands for nothing.
    """
    if address != "auto":
        return address
    told = os.environ.get("RAY_ADDRESS", "auto").strip()
    if told not in ("", "auto", "local"):
        if not _ADDRESS.fullmatch(told):
            raise ConfigurationError(
                f"The variable RAY_ADDRESS, which --address auto stands for, must be host:port or ray://host:port. Got "
                f"{told!r}."
            )
        return told
    from ray._private.services import canonicalize_bootstrap_address_or_die as found

    try:
        return str(found("auto"))
    except ConnectionError as error:
        raise ConfigurationError(
            "--address auto joins the cluster that `ray start` has started on this machine, or that RAY_ADDRESS names. "
            f"There is none, or more than one: {_first_line(error)} Give its address: --address host:6379."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_reachable(address: str, given: str | None) -> None:
    """Check that something answers at an address, because Ray itself would try for minutes."""
    if problem := unreachable(address, _SECONDS_TO_ANSWER):
        named = " Unset RAY_ADDRESS, or set it to that of a cluster that runs." if os.environ.get("RAY_ADDRESS") else ""
        raise ConfigurationError(
            f"Nothing answers at {address}{' (--address auto)' if given == 'auto' else ''}: {problem}. Give the "
            "address that `ray start --head` printed (host:6379), or that of Ray's client server (ray://host:10001)."
            f"{named if given == 'auto' else ''}"
        )


@contextmanager
def _in_the_root_folder() -> Iterator[None]:
    """Leave the current folder while Ray starts, unless our packages lie in it.

    Ray puts that folder before all others on the path of its workers. There a user's ``queries.py`` or ``random.py``
    would hide our package or Python's module, and workers would die.
    """
    folder = Path.cwd()
    if folder == Path(__file__).parents[2]:
        yield
        return
    os.chdir(folder.anchor)
    try:
        yield
    finally:
        os.chdir(folder)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep Ray from taking SIGTERM while it starts, when it is ours. Ray does that several times over."""
    if not stop_signals.is_command():
        yield
        return
    from ray._private import utils

    takes = "set_sigterm_handler"
    taken = getattr(utils, takes, None)
    if taken is None:
        yield
        return
    setattr(utils, takes, lambda handler: None)
    try:
        yield
    finally:
        setattr(utils, takes, taken)
