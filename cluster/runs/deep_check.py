"""The tables of `probestore verify` and `probestore gc`, and the deep check with a study's networks and images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby

import numpy as np
import pyarrow as pa

from cluster.runs.study_run import find_modules, identified, opened
from cluster.study.study_file import Study
from cluster.work.wanted_features import WantedFeatures, wanted_features
from featurestore import FeatureStore
from featurestore.care.findings import RUN_AGAIN, Finding, error, warning
from featurestore.care.garbage import Garbage
from featurestore.care.verify import Verified
from featurestore.errors import Failure
from featurestore.plain_text import counted
from featurestore.store.schema import SPLITS

_FINDINGS = pa.schema([(name, pa.string()) for name in ("severity", "place", "what", "advice")])
_GARBAGE = pa.schema(
    [
        ("kind", pa.string()),
        ("place", pa.string()),
        ("why", pa.string()),
        ("wanted_by", pa.string()),  # the study that wanted it last, its file, and when; null where none is known
        ("files", pa.int64()),
        ("bytes", pa.int64()),
        ("modified", pa.timestamp("us", tz="UTC")),
    ]
)

Images = dict[tuple[str, str], list[int]]
"""Dataset and split -> positions of images."""


def findings_table(findings: Iterable[Finding]) -> pa.Table:
    """Return a table with one row per finding."""
    return pa.Table.from_pylist([asdict(finding) for finding in findings], schema=_FINDINGS)


def in_words(verified: Verified) -> str:
    """Say in a sentence what was checked, and how many findings there are."""
    size = f"{verified.n_bytes / 1e6:,.1f} MB"
    severities = [finding.severity for finding in verified.findings]
    counts = {severity: severities.count(severity) for severity in ("error", "warning")}
    said = ", ".join(f"{n or 'no'} {severity}{'' if n == 1 else 's'}" for severity, n in counts.items())
    sentence = f"Checked {verified.n_sets} sets and {verified.n_records} records, {size}: {said}."
    if n_unread := severities.count("unread"):
        sentence += f" {counted(n_unread, 'file')} could not be read now, so nothing is known of them."
    if verified.n_unsigned:
        sentence += f" {counted(verified.n_unsigned, 'file')} without a digest: probestore verify --seal adds it."
    return sentence


def garbage_table(garbage: Iterable[Garbage]) -> pa.Table:
    """Return a table with one row per piece of garbage."""
    rows = [
        {
            "kind": item.kind,
            "place": item.place,
            "why": item.why,
            "wanted_by": str(item.wanted_by) if item.wanted_by else None,
            "files": len(item.files),
            "bytes": item.n_bytes,
            "modified": item.modified,
        }
        for item in garbage
    ]
    return pa.Table.from_pylist(rows, schema=_GARBAGE)


def embed_again(study: Study, store: FeatureStore, *, n_images: int, seed: int) -> list[Finding]:
    """Put a sample of a study's images through its networks, and compare the features with those that are stored.

    Parameters
    ----------
    study : Study
        Study whose networks and images are used.
    store : FeatureStore
        Store whose features are compared.
    n_images : int
        Number of images, which are drawn from all splits of all datasets. Each goes through every model whose features
        of it are stored.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of Finding
        Features that differ, and models and datasets that could not be compared.
    """
    find_modules(study)
    found: list[Finding] = []

    def failed(stage: str, problem: BaseException, *, model: str = "", dataset: str = "") -> None:
        found.append(warning(model or dataset, f"it cannot be used: {Failure.of(problem).message}", RUN_AGAIN))

    models, datasets = identified(study, failed), opened(study, failed)
    stock = store.stock()
    wanted = wanted_features(
        study.extract, models.values(), datasets.values(), lambda items: set(filter(stock.overflowed, items))
    )
    sizes = {(name, split): len(dataset.splits[split].rows) for name, dataset in datasets.items() for split in SPLITS}
    images = _drawn(sizes, n_images, seed)
    complete = [item for item in wanted if any(stock.has(each) for each in item.sets.values())]
    for _, items in groupby(sorted(complete, key=lambda item: item.model.name), key=lambda item: item.model.name):
        found.extend(_of_a_model(store, list(items), images))
    return found


def _drawn(sizes: dict[tuple[str, str], int], n_images: int, seed: int) -> Images:
    """Draw at most `n_images` positions, all equally likely."""
    ends = np.cumsum(list(sizes.values()), dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(n_images, total), replace=False))
    starts = [0, *ends[:-1]]
    return {
        place: (chosen[(chosen >= start) & (chosen < end)] - start).tolist()
        for place, start, end in zip(sizes, starts, ends, strict=True)
    }


def _of_a_model(store: FeatureStore, items: Sequence[WantedFeatures], images: Images) -> list[Finding]:
    import torch

    from featurestore.extraction.reembed import reembed
    from featurestore.networks.extractor import Extractor

    found: list[Finding] = []
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        extractor = Extractor(items[0].model, device, sorted({item.tap for item in items}))
        for item in items:
            for split, target in item.sets.items():
                rows = images.get((item.dataset.spec.name, split))
                if rows and store.has(target):
                    compared = reembed(store, extractor, item.dataset, target, rows)
                    advice = f"delete the folder, and {RUN_AGAIN}"
                    found.extend(error(target.folder, problem, advice) for problem in compared.problems)
    except Exception as problem:  # a user's network may raise anything; what else was found must not be lost
        found.append(warning(items[0].model.name, f"its features cannot be compared: {problem}", RUN_AGAIN))
    return found
