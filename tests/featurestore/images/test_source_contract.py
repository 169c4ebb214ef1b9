"""Every file of featurestore/images/sources, under one contract."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from random_folders import entries, random_folder
from source_contract import SourceContract
from tiny import save_images

from featurestore import registry
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.images import sources

FAMILIES: dict[str, type[SourceContract]] = {}


def of(family: str):
    """Name the family that a class tests."""

    def note(tests: type[SourceContract]) -> type[SourceContract]:
        FAMILIES[family] = tests
        return tests

    return note


@of("image_folder")
class TestImageFolder(SourceContract):
    @pytest.fixture
    def spec(self, tmp_path: Path) -> DatasetSpec:
        return DatasetSpec(name="pets", source=f"image_folder:{save_images(tmp_path, {'cats': 8, 'dogs': 8})}")

    def random_spec(self, root: Path, rng: np.random.Generator) -> tuple[DatasetSpec, int]:
        random_folder(root, rng)
        return DatasetSpec(name="pets", source=f"image_folder:{root}"), len(entries(root))


class ParquetContract(SourceContract):
    LABELS: list[object]

    @pytest.fixture
    def spec(self, tmp_path: Path) -> DatasetSpec:
        rng = np.random.default_rng(0)
        rows = []
        for number, label in enumerate(self.LABELS):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).save(buffer, "PNG")
            image = {"bytes": buffer.getvalue(), "path": None}
            rows.append({"image": image, "label": label, "site": None if number == 3 else str(number % 2)})
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet", row_group_size=5)
        return DatasetSpec(name="pets", source=f"parquet:{tmp_path}", group_column="site")


@of("parquet")
class TestParquet(ParquetContract):
    LABELS = ["cat", "dog"] * 8


class TestParquetOfSeveralLabels(ParquetContract):
    LABELS = [["cat"], ["dog", "cat"], [], ["dog"]] * 4


@of("packaged")
class TestPackaged(SourceContract):
    @pytest.fixture
    def spec(self) -> DatasetSpec:
        return DatasetSpec(name="digits", source="packaged:digits")


def test_every_family_is_held_to_the_contract():
    assert sorted(FAMILIES) == registry.names(sources)
