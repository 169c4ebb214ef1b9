"""Broken images and Parquet files, hundreds of each: no crash, and every row accounted for."""

import os
import subprocess
import sys
from pathlib import Path

import mutations
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from locations import ROOT
from mutations import broken_images, decodes, good_images, mutated
from seeds import seeds
from tiny import TINY_NETWORK

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.catalogue.models import ModelSpec
from featurestore.errors import DatasetError
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import Job
from featurestore.images.sources import RawImage, open_source
from featurestore.images.splits import Dataset
from featurestore.networks.extractor import Extractors
from featurestore.networks.identity import feature_set, identify

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

GIBIBYTE = 2**30

chances = pytest.mark.parametrize("seed", seeds(1, 8))


@pytest.fixture
def extract_all(store, tmp_path, monkeypatch):
    """Extract a dataset with a tiny network; give its samples and how many features there are."""
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    spec = ModelSpec(name="tiny", backbone="python:tiny_network:build", weights="none", input_size=16)
    model, extractors = identify(spec, resize="crop", compute="fp32"), Extractors("cpu")

    def extract(dataset: Dataset) -> tuple[list[dict], int]:
        for split in dataset.splits:
            job = Job(model, ((feature_set(model, dataset, split, "float32"), "float32"),))
            for shard in range(dataset.n_shards(split)):
                report = extract_shard(store, dataset, split, shard, [job], extractors, batch_size=8, decode_threads=2)
                assert not any(outcome.failure for outcome in report.outcomes)
        samples = [row for path in Path(store.uri).glob("samples/**/part-*") for row in pq.read_table(path).to_pylist()]
        features = [pq.ParquetFile(path).metadata.num_rows for path in Path(store.uri).glob("features/**/part-*")]
        return samples, sum(features)

    yield extract
    sys.modules.pop("tiny_network", None)


@chances
def test_every_broken_image_is_pixels_or_a_reason(seed):
    results = [decodes(content) for content in broken_images(per_image=20, seed=seed)]
    assert all(decodes(content) for content in good_images().values())
    assert 0.1 < np.mean(results) < 0.9


def test_every_prefix_of_an_image_is_pixels_or_a_reason():
    for name, content in good_images().items():
        ends = np.unique(np.linspace(0, len(content) - 1, 40).astype(int))
        results = [decodes(content[:end]) for end in ends]
        assert not all(results), name


@chances
def test_broken_images_do_not_crash_a_process_of_little_memory(seed):
    """A decoder that crashes takes the process with it; one that asks for gigabytes finds none."""
    arguments = [sys.executable, mutations.__file__, str(2 * GIBIBYTE), "40", str(seed)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    total, readable = (int(number) for number in done.stdout.split())
    assert total == 40 * len(good_images())
    assert 0 < readable < total


@chances
def test_every_broken_file_of_a_folder_is_a_row_and_only_readable_ones_are_features(extract_all, tmp_path, seed):
    for number, content in enumerate(broken_images(per_image=6, seed=seed)):
        folder = tmp_path / "images" / ("cats", "dogs")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d}.img").write_bytes(content)
    samples, n_features = extract_all(Dataset(DatasetSpec(name="pets", source=f"image_folder:{tmp_path}/images")))
    assert len({row["source"] for row in samples}) == len(samples) == number + 1
    assert all(row["readable"] == (row["reason"] is None) == (row["width"] is not None) for row in samples)
    assert 0 < n_features == sum(row["readable"] for row in samples) < len(samples)


def parquet_of(contents: list[bytes | None], path: Path, **options) -> Path:
    images = [{"bytes": content, "path": "/etc/passwd"} for content in contents]
    table = pa.table({"image": images, "label": [number % 2 for number in range(len(contents))]})
    pq.write_table(table, path, row_group_size=6, **options)
    return path


@chances
def test_every_broken_row_of_a_parquet_file_is_a_row_of_samples(extract_all, tmp_path, seed):
    contents = [*broken_images(per_image=4, seed=seed), None, b""]
    path = parquet_of(contents, tmp_path / "train.parquet", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 60] = b"\xff" * 60
    path.write_bytes(data)
    samples, n_features = extract_all(Dataset(DatasetSpec(name="pets", source=f"parquet:{path}")))
    assert {row["source"] for row in samples} == {f"train[{row}]" for row in range(len(contents))}
    assert sum("row group 2" in (row["reason"] or "") for row in samples) == 6
    assert 0 < n_features == sum(row["readable"] for row in samples) < len(samples)


@chances
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "compression": "zstd", "data_page_version": "2.0"}])
def test_a_broken_parquet_file_is_refused_or_gives_every_row(tmp_path, options, seed):
    """Bytes anywhere in the file are broken: those of the footer are refused, those of the images are rows."""
    rng = np.random.default_rng(seed)
    good = parquet_of(list(good_images().values()), tmp_path / "good.parquet", **options).read_bytes()
    refused = opened = unreadable = 0
    for number in range(300):
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(mutated(good, rng) if number % 2 else flipped(good, rng))
        try:
            raws = read_everything(path)
        except DatasetError as error:
            refused += str(path) in str(error) or "labels" in str(error)
        else:
            opened += 1
            unreadable += any(raw.reason for raw in raws)
    assert refused + opened == 300
    assert min(refused, opened, unreadable) > 0


def read_everything(path: Path) -> list[RawImage]:
    source = open_source(DatasetSpec(name="pets", source=f"parquet:{path}"))
    size = source.splits()["train"]
    assert len(source.labels("train")) == size
    assert len(source.fingerprint()) == 64
    raws = list(source.read("train", np.arange(size)))
    assert len(raws) == size
    return raws


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Sixteen bytes of it changed, its length not: the footer stays where it is looked for."""
    data = bytearray(content)
    start = int(rng.integers(4, len(data) - 24))
    data[start : start + 16] = rng.bytes(16)
    return bytes(data)
