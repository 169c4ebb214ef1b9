"""Costs that grow: commands measured in processes of their own, an S3 that counts requests, and the law of a cost."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faulty_s3 import FaultyS3, faulty
from finished_study import Finished, read_study, write_study
from locations import ROOT

from featurestore import FeatureStore

BUCKET = "growth"
_ACCOUNT = "123456789012"  # of the server's only user


@dataclass(frozen=True)
class Cost:
    """What a command has cost.

    Attributes
    ----------
    cpu : float
        Seconds of the process.
    memory : float
        Bytes, at most.
    calls : int
        Calls of `Storage`, or requests that a server has counted.
    """

    cpu: float
    memory: float
    calls: int


def finished_store(folder: Path, *, models: int, datasets: int, images: int, shard_images: int) -> tuple[Path, int]:
    """Make a study and its finished store in a folder, with all that a run adds; return the study and its cells."""
    study = write_study(folder, models=models, datasets=datasets, images=images, shard_images=shard_images)
    n_cells = Finished(FeatureStore.create(str(folder / "store")), read_study(study)).fill()
    for _ in range(2):  # the second finds what the first has written
        measured(["run", str(study), "--store", str(folder / "store")], cache=folder / "made")
    return study, n_cells


def measured(command: Sequence[str], *, cache: Path, variables: Mapping[str, str] | None = None) -> Cost:
    """Run a command of probestore in a process of its own, with a node's cache of its own.

    Raises
    ------
    RuntimeError
        If it failed.
    """
    with tempfile.NamedTemporaryFile() as out:
        line = [sys.executable, str(Path(__file__).with_name("growth_child.py")), out.name, *command]
        path = os.pathsep.join([str(ROOT), str(ROOT / "queries/notebook/top_level"), str(Path(__file__).parent)])
        environment = {**os.environ, **(variables or {}), "PROBESTORE_CACHE": str(cache), "PYTHONPATH": path}
        environment |= {"PROBESTORE_FSYNC": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return Cost(**json.loads(Path(out.name).read_text()))


@contextmanager
def counting_s3() -> Iterator[tuple[FaultyS3, dict[str, str]]]:
    """Run an S3 server with an empty bucket; yield what counts its requests, and the variables that lead to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with faulty(f"http://{host}:{port}") as proxy:
            names = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
            yield proxy, {**names, "AWS_ENDPOINT_URL": proxy.endpoint}
    finally:
        server.stop()


def put_in_bucket(store: Path) -> str:
    """Put the files of a store into the server of this process, oldest first; return the URI of the store there."""
    from moto.s3.models import s3_backends

    backend = s3_backends[_ACCOUNT]["aws"]
    if BUCKET not in backend.buckets:
        backend.create_bucket(BUCKET, "us-east-1")
    for key in list(backend.buckets[BUCKET].keys):
        backend.delete_object(BUCKET, key)
    files = sorted((path for path in store.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    for path in files:
        backend.put_object(BUCKET, f"store/{path.relative_to(store)}", path.read_bytes())
    return f"s3://{BUCKET}/store"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Return the exponent with which a cost grows above that of the smallest size; None if it does not grow.

    The two largest sizes say it, and what does not depend on the size falls out.
    """
    (n, _), (m, before), (k, after) = ((sizes[i] - sizes[0], costs[i] - costs[0]) for i in (0, -2, -1))
    if n or before <= 0 or after <= 0:
        return None
    return math.log(after / before) / math.log(k / m)


@dataclass(frozen=True)
class Line:
    """A cost that is proportional to sizes, above a constant: ``constant + each . sizes``."""

    constant: float
    each: tuple[float, ...]

    @classmethod
    def through(cls, sizes: Sequence[Sequence[float]], costs: Sequence[float]) -> Line:
        """Fit by least squares of the relative errors, so that small sizes count; no slope is negative."""
        from scipy.optimize import nnls

        rows = np.column_stack([np.ones(len(costs)), np.asarray(sizes, float)]) / np.asarray(costs)[:, None]
        scales = np.abs(rows).max(axis=0)
        found, _ = nnls(rows / scales, np.ones(len(costs)))
        constant, *each = (found / scales).tolist()
        return cls(constant, tuple(each))

    def at(self, *sizes: float) -> float:
        """Return the cost at other sizes."""
        return self.constant + sum(each * size for each, size in zip(self.each, sizes, strict=True))
