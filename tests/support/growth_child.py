"""The process that `growth.measured` measures: ``growth_child.py OUT COMMAND...`` runs a command, and writes its cost.

COMMAND is one of probestore, or ``call MODULE:FUNCTION ARGUMENT...``: a function that takes texts.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from featurestore.store.storage import Storage

METHODS = ("kind", "files", "list_files", "read", "read_buffer", "read_bytes", "publish", "publish_new", "delete")


def count_calls() -> list[str]:
    """Count calls of the methods of Storage from now on; one inside another counts once."""
    calls: list[str] = []
    inside = threading.local()

    def counting(method: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if getattr(inside, "a_call", False):
                return original(*arguments, **options)
            inside.a_call = True
            calls.append(method)
            try:
                return original(*arguments, **options)
            finally:
                inside.a_call = False

        return call

    for method in METHODS:
        setattr(Storage, method, counting(method, getattr(Storage, method)))
    return calls


def main() -> int:
    out, *command = sys.argv[1:]
    calls = count_calls()
    if command[0] == "call":
        module, _, name = command[1].partition(":")
        function = getattr(import_module(module), name)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        begun, before = time.process_time(), memory("VmRSS")
        function(*command[2:])
        code = 0
    else:
        from cluster.cli import cli

        begun, before, code = 0.0, 0, 0
        try:
            cli.main(command, standalone_mode=False)
        except SystemExit as end:
            code = int(end.code or 0)
    cost = {"cpu": time.process_time() - begun, "memory": memory("VmHWM") - before, "calls": len(calls)}
    Path(out).write_text(json.dumps(cost))
    return code


def memory(kind: str) -> int:
    """Bytes that this process holds (VmRSS), or has held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))


if __name__ == "__main__":
    sys.exit(main())
