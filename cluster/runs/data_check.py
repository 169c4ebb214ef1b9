"""Datasets, looked at before anything is computed: what each holds, what is used as what, and why the rest is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.runs.study_run import opened
from cluster.study.study_file import Study
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import Failure, UnknownNameError
from featurestore.images.inventory import Inventory
from featurestore.images.sources import open_source
from featurestore.images.splits import Dataset
from featurestore.plain_text import shortly
from featurestore.store.schema import SPLITS

_COLUMNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("thing", pa.string()),
        ("count", pa.int64()),
        ("used_as", pa.string()),
        ("why", pa.string()),
        ("examples", pa.string()),
    ]
)


def check_data(study: Study, names: Sequence[str] = ()) -> tuple[pa.Table, list[str]]:
    """Open datasets of a study, and say what is in them.

    Parameters
    ----------
    study : Study
    names : sequence of str
        Datasets that are looked at; none stands for all.

    Returns
    -------
    table : pyarrow.Table
        A row for everything that a source met and that had the same fate, then for each split, for the classes, and for
        each remark; a row ``problem`` for what makes a dataset unusable.
    unusable : list of str
        Names of the datasets that cannot be used.

    Raises
    ------
    UnknownNameError
        If the study has no dataset of that name.
    """
    known = {spec.name: spec for spec in study.datasets}
    for name in names:
        if name not in known:
            raise UnknownNameError("dataset of the study", name, known, f"It has {', '.join(known)}.")
    specs = [known[name] for name in names or known]
    problems: dict[str, str] = {}

    def fail(stage: str, error: BaseException, *, dataset: str) -> None:
        problems[dataset] = Failure.of(error).message

    found = opened(replace(study, datasets=tuple(specs)), fail)
    rows: list[dict[str, Any]] = []
    for spec in specs:
        if spec.name in found:
            rows.extend(_of_dataset(found[spec.name]))
        else:
            rows.extend(_of_unusable(spec, problems[spec.name]))
    return pa.Table.from_pylist(rows, schema=_COLUMNS), list(problems)


def _of_dataset(dataset: Dataset) -> Iterator[dict[str, Any]]:
    name = dataset.spec.name
    yield from _of_inventory(name, dataset.inventory)
    for split in SPLITS:
        part = dataset.splits[split]
        yield _row(name, "image", len(part.rows), split, part.made, _per_class(dataset, split))
    yield _row(name, "class", len(dataset.classes), "classes", "", shortly(dataset.classes))
    for remark in dataset.inventory.remarks:
        yield _row(name, "note", None, None, remark, "")


def _of_unusable(spec: DatasetSpec, problem: str) -> Iterator[dict[str, Any]]:
    """Yield what the source met, where it can say that, and why it cannot be used."""
    try:
        inventory = open_source(spec).inventory()
    except Exception:  # the problem says it, whatever a reader makes of the files of a user
        inventory = Inventory()
    yield from _of_inventory(spec.name, inventory)
    yield _row(spec.name, "problem", None, None, problem, "")


def _of_inventory(name: str, inventory: Inventory) -> Iterator[dict[str, Any]]:
    for entry in inventory:
        yield _row(name, entry.thing, entry.count, entry.used_as, entry.reason, _some(entry.examples, entry.count))


def _row(dataset: str, thing: str, count: int | None, used_as: str | None, why: str, examples: str) -> dict[str, Any]:
    values = (
        dataset,
        thing,
        count,
        used_as or ("left out" if count is not None else None),
        why or None,
        examples or None,
    )
    return dict(zip(_COLUMNS.names, values, strict=True))


def _some(examples: Iterable[str], count: int) -> str:
    shown = list(examples)
    return ", ".join(shown) + (", ..." if count > len(shown) else "")


def _per_class(dataset: Dataset, split: str) -> str:
    """Say how many images the smallest and the largest class of a split have."""
    labels = dataset.labels(split)
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(dataset.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[least] == counts[most]:
        return f"{counts[least]} of each class"
    return f"{counts[least]} ({dataset.classes[least]}) to {counts[most]} ({dataset.classes[most]}) of a class"
