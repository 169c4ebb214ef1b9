"""The published grid, imported from the files beside the project: 16 models on 12 datasets in 3 settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from given import PAPER

from featurestore import FeatureStore
from probes.imports.imported import Import, add, read_import

ORIGIN = "kornblith2019"
RENAMED = {"Oxford 102 Flowers": "102 Flowers", "PASCAL VOC 2007 Cls.": "VOC2007"}
"""Name of a dataset in the file of datasets -> its name in that of results."""


def published_files() -> dict[str, Path]:
    """The files that an import reads, by its parameters; skips the test where they are not there."""
    if not PAPER.is_dir():
        pytest.skip(f"the published grid is not at {PAPER}")
    names = {"results": "accuracies", "models": "models", "datasets": "datasets"}
    return {parameter: PAPER / f"{name}.csv" for parameter, name in names.items()}


def published_import() -> Import:
    """The grid as it is read; skips the test where the files are not there."""
    return read_import(**published_files(), origin=ORIGIN, renamed=RENAMED)


def published_store(folder: Path) -> FeatureStore:
    """A store in this folder with the grid; skips the test where the files are not there."""
    store = FeatureStore.create(str(folder / "published"))
    add(store, published_import(), command="probestore import results published.csv")
    return store
