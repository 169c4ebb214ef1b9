"""Run Python with these arguments, and say at the end how many CPU-seconds it and all its descendants took.

    python tests/support/cpu_seconds.py -m pytest tests/ray

Those whose parent was killed count too, as the tests of Ray kill many: on Linux this process adopts and awaits them.
A limit on CPU-seconds holds on a busy machine and on one with another number of cores; one on minutes does not.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>


def main(arguments: list[str]) -> int:
    """Return the exit code of that Python."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal tells the tests too, and they end
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments])
    code = _await(process.pid)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.monotonic() - begun
    sys.stdout.write(f"{used.ru_utime + used.ru_stime:,.0f} CPU-seconds in {seconds:,.0f} seconds\n")
    return code


def _await(pid: int) -> int:
    """Await every process that ends, until it is this one: adopted ones must not stay as zombies."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
