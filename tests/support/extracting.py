"""Extraction of a whole dataset in this process, as the workers of a run do it shard by shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from featurestore import FeatureStore
from featurestore.catalogue.models import ModelSpec
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import FullSet, Job, ShardReport
from featurestore.images.splits import Dataset
from featurestore.networks.extractor import Extractors
from featurestore.networks.identity import feature_set, identify
from featurestore.store.layout import PENULTIMATE


def extract(
    store: FeatureStore,
    dataset: Dataset,
    *specs: ModelSpec,
    storage: str = "float16",
    strict: bool = False,
    compute: Literal["fp32", "bf16", "fp16"] = "fp32",
    taps: Sequence[str] = (PENULTIMATE,),
    **fields: Any,
) -> list[ShardReport]:
    """Extract and complete every split of a dataset with these networks on the CPU; one report per shard."""
    models = [identify(spec, resize="squash", compute=compute) for spec in specs]
    extractors = Extractors("cpu")
    reports = []
    for split in ("train", "val", "test"):
        jobs = [
            Job(model, tuple((feature_set(model, dataset, split, storage, tap=tap), storage) for tap in taps), **fields)
            for model in models
        ]
        for shard in range(dataset.n_shards(split)):
            options = {"batch_size": 4, "decode_threads": 1, "strict": strict}
            reports.append(extract_shard(store, dataset, split, shard, jobs, extractors, **options))
        by_name = {model.name: model for model in models}
        outcomes = [outcome for report in reports for outcome in report.outcomes if outcome.target.split == split]
        for target in {outcome.target for outcome in outcomes} - {item.target for item in outcomes if not item.part}:
            FullSet.of_features(by_name[target.model], dataset, split, storage, tap=target.tap).complete(store)
        FullSet.of_samples(dataset, split).complete(store)
    return reports
