"""SQL over files that are checked when they are opened, beside the same SQL as DuckDB reads the files by itself.

    python tests/benchmarks/bench_sql.py --cells 200 --sets 20 --repeats 5
    python tests/benchmarks/bench_sql.py --cells 100 --sets 10 --repeats 3 --s3 --delay-ms 20

Predictions are 5,000 images x 20 classes per cell, features 2,000 images x 512 values of float16 per set: synthetic.
Sides take turns in one process, each with a new connection, as a new command has; its opening is not timed. With --s3
the store lies on an S3 server on loopback, behind a proxy that waits before each request; DuckDB's own way is its
extension httpfs, of the packages duckdb-extensions and duckdb-extension-httpfs.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import duckdb
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from faulty_s3 import FaultyS3, faulty
from shard_rows import feature_rows

from featurestore import FeatureSet, FeatureStore
from featurestore.machine import available_cpus
from featurestore.store import schema
from queries.asking.database import Database

IMAGES, CLASSES, ROWS, DIM = 5000, 20, 2000, 512
SCANS = {
    "predictions, all scores": "select sum(list_sum(scores)) from {predictions}",
    "predictions, one column": "select sum(predicted) from {predictions}",
    "features, all values": "select sum(list_sum(feature::float[])) from {features}",
    "features, one column": "select sum(label) from {features}",
}


def fill(store: FeatureStore, cells: int, sets: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(cells):
        store.publish("predictions", f"cell{number}", predictions(f"cell{number}", rng))
    for number in range(sets):
        item = FeatureSet(f"net{number}", "pets", "test", "key")
        X = rng.normal(size=(ROWS, DIM)).astype(np.float16)
        store.write_shard(item, 0, 1, feature_rows(0, X))
        store.finish(item, 1, {})


def predictions(cell: str, rng: np.random.Generator) -> pa.Table:
    top5 = np.tile(np.arange(5), IMAGES)
    columns = {
        "cell": pa.repeat(cell, IMAGES),
        "model": pa.repeat("net", IMAGES),
        "dataset": pa.repeat("pets", IMAGES),
        "setting": pa.repeat("fixed", IMAGES),
        "tap": pa.repeat("penultimate", IMAGES),
        "probe": pa.repeat("logistic", IMAGES),
        "solver": pa.repeat("path", IMAGES),
        "n_per_class": pa.nulls(IMAGES, pa.int64()),
        "seed": pa.repeat(0, IMAGES),
        "sample_id": [f"{row:032x}" for row in range(IMAGES)],
        "index": np.arange(IMAGES),
        "label": rng.integers(0, CLASSES, IMAGES),
        "labels": pa.nulls(IMAGES, pa.list_(pa.int64())),
        "predicted": rng.integers(0, CLASSES, IMAGES),
        "probability": rng.random(IMAGES),
        "top5": pa.ListArray.from_arrays(np.arange(0, 5 * IMAGES + 1, 5, dtype=np.int32), top5),
        "scores": pa.ListArray.from_arrays(
            np.arange(0, CLASSES * IMAGES + 1, CLASSES, dtype=np.int32), rng.random(CLASSES * IMAGES, dtype=np.float32)
        ),
    }
    return pa.table(columns).cast(schema.PREDICTIONS)


@contextmanager
def checked(store: FeatureStore) -> Iterator[Callable[[str], object]]:
    with Database(store) as database:
        yield lambda sql: database.sql(sql.format(predictions="stored_predictions", features="stored_features"))


@contextmanager
def unchecked(store: FeatureStore) -> Iterator[Callable[[str], object]]:
    files = {table: store.files(table)[1:] for table in ("predictions", "features")}
    with duckdb.connect(config={"threads": available_cpus()}) as connection:
        if not store.storage.is_local:
            connect_s3(connection)
        calls = {table: f"read_parquet({names!r}, hive_partitioning = false)" for table, names in files.items()}
        yield lambda sql: connection.sql(sql.format(**calls)).fetchall()


def connect_s3(connection: duckdb.DuckDBPyConnection) -> None:
    from duckdb_extensions import import_extension

    import_extension("httpfs", con=connection)
    connection.load_extension("httpfs")
    host = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
    connection.execute(
        f"create secret (type s3, key_id 'testing', secret 'testing', endpoint '{host}', use_ssl false, "
        "url_style 'path', region 'us-east-1')"
    )


@contextmanager
def bucket(delay: float) -> Iterator[FaultyS3]:
    """Run an S3 server, and a proxy that waits before each request once it `waits`."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    secrets = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    os.environ.update(secrets)
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="bench")
    with faulty(f"http://{host}:{port}") as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        proxy.fault = lambda method, path: time.sleep(delay)
        yield proxy
    server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--delay-ms", type=float, default=20)
    options = parser.parse_args()
    os.environ["PROBESTORE_FSYNC"] = "0"
    with (
        tempfile.TemporaryDirectory() as folder,
        bucket(options.delay_ms / 1e3) if options.s3 else nullcontext() as proxy,
    ):
        store = FeatureStore.create("s3://bench/store" if options.s3 else f"{folder}/store")
        fill(store, options.cells, options.sets)
        sizes = {t: sum(store.file_sizes(t).values()) / 1e6 for t in ("predictions", "features")}
        print(
            f"duckdb {duckdb.__version__}, {available_cpus()} threads; {options.cells} cells, "
            f"{sizes['predictions']:.0f} MB of predictions; {options.sets} sets, "
            f"{sizes['features']:.0f} MB of features; "
            f"{f'S3 with {options.delay_ms:g} ms a request' if options.s3 else 'a local disk'}; "
            f"median of {options.repeats}"
        )
        for name, sql in SCANS.items():
            compare(store, name, sql, options.repeats, proxy)


def compare(store: FeatureStore, name: str, sql: str, repeats: int, proxy: FaultyS3 | None) -> None:
    taken: dict[str, list[tuple[float, float, int]]] = {"checked": [], "unchecked": []}
    for _ in range(repeats):
        for side in (checked, unchecked):
            with side(store) as ask:
                before = len(proxy.requests) if proxy else 0
                wall, cpu = time.perf_counter(), time.process_time()
                ask(sql)
                seconds = time.perf_counter() - wall, time.process_time() - cpu
                taken[side.__name__].append((*seconds, len(proxy.requests) - before if proxy else 0))
    wall, cpu, requests = ({side: median(row[i] for row in rows) for side, rows in taken.items()} for i in range(3))
    asked = f"; requests {requests['checked']:g} and {requests['unchecked']:g}" if proxy else ""
    print(
        f"{name:24} {wall['checked']:.2f} s, {cpu['checked']:.2f} s of CPU; unchecked {wall['unchecked']:.2f} s, "
        f"{cpu['unchecked']:.2f} s of CPU: {wall['checked'] / wall['unchecked']:.2f} and "
        f"{cpu['checked'] / cpu['unchecked']:.2f} times{asked}"
    )


if __name__ == "__main__":
    main()
