"""Measured speed of the networks of a study on this machine, by a few of its images."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cluster.work.contract import Run
from cluster.work.kinds.features import default_batch_size
from cluster.work.rates import Rates
from featurestore.images.splits import Dataset
from featurestore.networks.identity import Model

_BATCHES = 3  # after one that warms up


def with_measured(run: Run) -> Rates:
    """Return the rates of a run. Networks whose rate is not known are measured on images of the first dataset.

    A network that cannot be used becomes a failure in the ledger.
    """
    images = dict(run.rates.images)
    for name, model in run.models.items():
        for dataset in list(run.datasets.values())[:1]:
            if (name, None) not in images:
                try:
                    images[name, None] = _images_per_second(model, dataset)
                except Exception as error:  # a user's network may raise anything
                    run.ledger.fail("model", error, model=name)
    return replace(run.rates, images=images)


def _images_per_second(model: Model, dataset: Dataset) -> float:
    """Decode, resize and embed a few batches of training images in one thread."""
    import torch

    from featurestore.images import decoding
    from featurestore.networks.extractor import Extractor, upload

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = default_batch_size(device)
    stop = min(len(dataset.splits["train"].rows), (1 + _BATCHES) * size)
    extractor = Extractor(model, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(1) as pool:
            raw = dataset.read("train", 0, stop)
            geometries, reading = {model.preprocessing.geometry}, dataset.reading
            batches = decoding.batches(raw, geometries, batch_size=size, pool=pool, reading=reading)
            begin, count = time.perf_counter(), 0
            for number, batch in enumerate(batches):
                if number == 1:
                    begin, count = time.perf_counter(), 0
                if batch.pixels:
                    extractor.run(upload(batch.pixels, device))
                count += len(batch.images)
            if device == "cuda":
                torch.cuda.synchronize()
        return count / (time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
