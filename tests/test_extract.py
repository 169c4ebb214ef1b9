import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny import TINY_NETWORK

from featurestore import FeatureStore, preprocessing
from featurestore.errors import BackboneError, DatasetError
from featurestore.extract import (
    Extractor,
    Extractors,
    Job,
    ShardReport,
    extract_shard,
    feature_set,
    finish_features,
    finish_samples,
    identify,
)
from featurestore.models import ModelSpec
from featurestore.splits import Dataset


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    (tmp_path / "tiny_network.py").write_text(TINY_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)

    def make(function: str = "build", **fields) -> ModelSpec:
        fields = {"name": function, "weights": "none", "input_size": 16, **fields}
        return ModelSpec(backbone=f"python:tiny_network:{function}", **fields)

    yield make
    sys.modules.pop("tiny_network", None)


def extract(
    store: FeatureStore, dataset: Dataset, *specs: ModelSpec, storage="float16", strict=False
) -> list[ShardReport]:
    models = [identify(spec, resize="squash", compute="fp32") for spec in specs]
    extractors = Extractors("cpu")
    reports = []
    for split in ("train", "val", "test"):
        jobs = [Job(model, feature_set(model, dataset, split, storage), storage) for model in models]
        for shard in range(dataset.n_shards(split)):
            options = {"batch_size": 4, "decode_threads": 1, "strict": strict}
            reports.append(extract_shard(store, dataset, split, shard, jobs, extractors, **options))
        for model, report in zip(models, reports[-1].outcomes, strict=True):
            if not report.failure and not report.overflow:
                finish_features(store, model, dataset, split, storage)
        finish_samples(store, dataset, split)
    return reports


def read_samples(store: FeatureStore) -> list[dict]:
    return [row for path in store.files("samples") for row in pq.read_table(path, partitioning=None).to_pylist()]


def test_features_are_what_the_network_gives_for_the_normalised_image(store, image_spec, tiny):
    dataset, spec = Dataset(image_spec), tiny()
    extract(store, dataset, spec, storage="float32")
    model = identify(spec, resize="squash", compute="fp32")
    stored = store.read(feature_set(model, dataset, "val", "float32"))
    images = [preprocessing.decode(raw.content) for raw in dataset.read("val", 0, 6)]
    pixels = np.stack([preprocessing.to_array(image, model.preprocessing.geometry) for image in images])
    mean, std = (np.array(values) for values in (model.spec.mean, model.spec.std))
    inputs = torch.from_numpy(((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    network = Extractor(model, "cpu")._network
    with torch.inference_mode():
        np.testing.assert_allclose(stored.X, network(inputs).numpy(), rtol=1e-4, atol=1e-5)
    assert stored.y.tolist() == dataset.labels("val").tolist()


def test_float16_is_the_default_and_close(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    extract(store, dataset, tiny(), storage="float32")
    extract(store, dataset, tiny(), storage="float16")
    model = identify(tiny(), resize="squash", compute="fp32")
    single, half = (store.read(feature_set(model, dataset, "test", storage)).X for storage in ("float32", "float16"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, single, rtol=1e-3, atol=1e-4)


def test_every_image_is_read_once_for_all_models(store, image_spec, tiny, monkeypatch):
    reads = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or original(path))
    extract(store, Dataset(image_spec), tiny(), tiny(name="other", seed=1), tiny(name="large", input_size=20))
    assert sorted(path for path in reads if path.suffix == ".png") == sorted(Path(image_spec.location).rglob("*.png"))


def test_samples_say_where_an_image_came_from_and_features_join_to_them(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    extract(store, dataset, tiny())
    rows = read_samples(store)
    assert len(rows) == 40
    assert {(row["width"], row["height"], row["readable"]) for row in rows} == {(30, 24, True)}
    assert {row["source"].split("/")[0] for row in rows} == {"cats", "dogs"} == {row["label_name"] for row in rows}
    model = identify(tiny(), resize="squash", compute="fp32")
    features = store.read(feature_set(model, dataset, "train", "float16"))
    assert set(features.sample_id) < {row["sample_id"] for row in rows}


def test_an_unreadable_image_is_a_row_and_not_a_feature(store, image_spec, tiny):
    broken = sorted(Path(image_spec.location).rglob("*.png"))[0]
    broken.write_bytes(b"not an image")
    dataset = Dataset(image_spec)
    reports = extract(store, dataset, tiny())
    assert sum(report.n_unreadable for report in reports) == 1
    (row,) = [row for row in read_samples(store) if not row["readable"]]
    assert row["source"] == "cats/000.png"
    assert row["reason"] == "not an image of a known format"
    model = identify(tiny(), resize="squash", compute="fp32")
    n_features = sum(
        len(store.read(feature_set(model, dataset, split, "float16")).X) for split in ("train", "val", "test")
    )
    assert n_features == 39


def test_a_shard_without_a_readable_image_still_has_the_models_width(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    start, stop = dataset.shard_range("train", 1)
    for raw in list(dataset.read("train", start, stop)):
        (Path(image_spec.location) / raw.origin).write_bytes(b"")
    dataset = Dataset(image_spec)
    extract(store, dataset, tiny())
    model = identify(tiny(), resize="squash", compute="fp32")
    assert store.read(feature_set(model, dataset, "train", "float16")).X.shape == (18, 32)


def test_strict_stops_at_an_unreadable_image(store, image_spec, tiny):
    sorted(Path(image_spec.location).rglob("*.png"))[0].write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"cats/000\.png is unreadable"):
        extract(store, Dataset(image_spec), tiny(), strict=True)


def test_a_model_that_raises_leaves_the_others_alone(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    reports = extract(store, dataset, tiny("broken"), tiny())
    failures = [report.outcomes[0].failure for report in reports]
    assert all(failure and failure.error == "RuntimeError" for failure in failures)
    assert len([item for item in store.sets() if item.folder.startswith("features/model=build")]) == 3
    assert not [item for item in store.sets() if item.folder.startswith("features/model=broken")]


def test_what_float16_cannot_hold_is_not_written(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    reports = extract(store, dataset, tiny("loud"))
    assert all("beyond float16's 65504" in report.outcomes[0].overflow for report in reports)
    assert not [item for item in store.sets() if item.folder.startswith("features")]
    extract(store, dataset, tiny("loud"), storage="float32")
    model = identify(tiny("loud"), resize="squash", compute="fp32")
    assert store.read(feature_set(model, dataset, "test", "float32")).X.max() > 65504


def test_nan_is_a_failure_whatever_the_storage(store, image_spec, tiny, tmp_path):
    torch.save({"0.weight": torch.full((8, 3, 5, 5), torch.nan), "0.bias": torch.zeros(8)}, tmp_path / "nan.pth")
    reports = extract(store, Dataset(image_spec), tiny(weights=str(tmp_path / "nan.pth")), storage="float32")
    assert all(report.outcomes[0].failure.error == "FeatureValueError" for report in reports)


def test_a_network_of_the_wrong_shape_is_named(tiny):
    extractor = Extractor(identify(tiny(feature_dim=31), resize="squash", compute="fp32"), "cpu")
    with pytest.raises(BackboneError, match=r"\(batch, 31\) for a batch of 2. Got \(2, 32\)"):
        extractor.features(np.zeros((2, 16, 16, 3), np.uint8))


def test_the_key_changes_with_whatever_can_change_the_bytes(image_spec, tiny):
    dataset = Dataset(image_spec)

    def key(spec=None, data=dataset, storage="float16", resize="squash", compute="fp32", split="train"):
        return feature_set(identify(spec or tiny(), resize=resize, compute=compute), data, split, storage).key

    keys = [
        key(),
        key(tiny(seed=1)),
        key(tiny(input_size=20)),
        key(tiny(mean=(0.5, 0.5, 0.5))),
        key(data=Dataset(replace(image_spec, limit=30))),
        key(data=Dataset(replace(image_spec, seed=1))),
        key(data=Dataset(replace(image_spec, shard_images=9))),
        key(storage="float32"),
        key(resize="crop"),
        key(compute="bf16"),
        key(split="val"),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


def test_weights_that_changed_since_planning_are_refused(tiny):
    model = identify(tiny(), resize="squash", compute="fp32")
    with pytest.raises(BackboneError, match="have changed on this machine"):
        Extractor(replace(model, digest="sha256:other"), "cpu")


def test_bf16_is_close_to_fp32(tiny):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    single, brief = (
        Extractor(identify(tiny(), resize="squash", compute=compute), "cpu").features(pixels)
        for compute in ("fp32", "bf16")
    )
    assert 0 < np.abs(brief - single).max() < 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compute", ["fp32", "bf16", "fp16"])
def test_cuda_gives_the_features_of_the_cpu(tiny, compute):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    cpu = Extractor(identify(tiny(), resize="squash", compute="fp32"), "cpu").features(pixels)
    cuda = Extractor(identify(tiny(), resize="squash", compute=compute), "cuda").features(pixels)
    np.testing.assert_allclose(cuda, cpu, atol=1e-3 if compute == "fp32" else 0.05)
