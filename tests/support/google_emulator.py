"""Google Cloud Storage on loopback, in a process of its own: pyarrow's client does not let other threads run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer

BUCKET = "bucket"


@contextmanager
def google_emulator() -> Iterator[dict[str, str]]:
    """Run an emulator that has one bucket; what is yielded are the storage options that lead there."""
    with subprocess.Popen(
        [sys.executable, __file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        try:
            yield {"anonymous": "true", "scheme": "http", "endpoint": f"127.0.0.1:{port}", "retries": "1"}
        finally:
            process.kill()


def _serve() -> None:
    """Serve with threads, and write the port; the emulator's own server has one, which waits for every reader."""
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    files = Storage(use_memory_fs=True)
    create_bucket(BUCKET, files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RequestHandler, files))
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _serve()
