"""Ray and the pool in this process give the same store."""

from __future__ import annotations

import sys

import pyarrow.parquet as pq
from silent import Silent

from cluster.runs.study_run import run_study
from cluster.study.study_file import read_study
from featurestore import FeatureSet, FeatureStore

TIMES = {"seconds", "created_at", "wanted_at", "recorded_at", "versions", "updated_at", "images_per_second"}
COMPUTED = (
    "samples", "results", "tuning", "predictions", "neighbours", "representations", "similarities",
)  # fmt: skip
MORE = '[probe]\nprobes = ["logistic", "knn", "logme"]\nn_per_class = [2]\nfew_shot_seeds = 1\n'


def rows(store: FeatureStore, table: str) -> list[dict]:
    found = [row for path in store.files(table)[1:] for row in pq.read_table(path, partitioning=None).to_pylist()]
    return sorted(({name: row[name] for name in row if name not in TIMES} for row in found), key=repr)


def test_both_pools_give_equal_keys_and_equal_rows(ray_pool, pool, study_file, tmp_path):
    path = study_file(2, MORE)
    stores = []
    for name, where in (("ray", ray_pool), ("local", pool)):
        stores.append(FeatureStore.create(str(tmp_path / name)))
        summary = run_study(read_study(path), stores[-1], pool=where, reporter=Silent(), analyse=True)
        sys.modules.pop("tiny_network", None)
        assert summary.failures == []
    one, two = stores
    assert one.sets() == two.sets()
    for item in one.sets():
        if isinstance(item, FeatureSet):
            assert one.read(item).X.tobytes() == two.read(item).X.tobytes()
    for table in (*COMPUTED, "models", "datasets", "cells", "progress", "failures"):
        assert rows(one, table) == rows(two, table), table
    assert all(rows(one, table) for table in COMPUTED)


def test_kinds_that_ask_for_different_workers_run_side_by_side(study_file, images, store, ray_pool, monkeypatch):
    """Each kind has one worker of its own, of one CPU: neither waits for the other to end."""
    more = (
        f'[[dataset]]\nname = "more_pets"\nsource = "image_folder:{images}"\nshard_images = 4\nlimit = 30\n'
        "[cluster]\nfeatures = { cpus = 1, max_workers = 1 }\n"
        "probes = { cpus = 1, gpus = 0, memory_gb = 0.5, max_workers = 1 }\n"
    )
    study = read_study(study_file(2, more))
    reporter = Silent()
    monkeypatch.setattr(ray_pool, "_cluster", study.cluster)
    run_study(study, store, pool=ray_pool, reporter=reporter)
    sys.modules.pop("tiny_network", None)
    assert [event.name() for event in reporter.events].count("cell_done") == 4
    assert len(ray_pool._teams) == 2
