from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from extracting import extract

from featurestore import FeatureStore
from featurestore.errors import BackboneError, DatasetError
from featurestore.extraction.extract import extract_shard
from featurestore.extraction.shards import FullSet, Job
from featurestore.images import preprocessing
from featurestore.images.dataset_files import DatasetFolder
from featurestore.images.splits import Dataset
from featurestore.networks import installation
from featurestore.networks.extractor import Extractor, Extractors
from featurestore.networks.fingerprint import N_PROJECTIONS
from featurestore.networks.identity import feature_set, identify
from featurestore.networks.installation import Installation
from featurestore.networks.references import Reference, References
from featurestore.store.layout import PENULTIMATE


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
    original = DatasetFolder.read

    def read(folder, path, *listed):
        reads.append(path)
        return original(folder, path, *listed)

    monkeypatch.setattr(DatasetFolder, "read", read)
    extract(store, Dataset(image_spec), tiny(), tiny(name="other", seed=1), tiny(name="large", input_size=20))
    assert sorted(reads) == sorted(Path(image_spec.location).rglob("*.png"))


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
    assert sum(len(report.unreadable) for report in reports) == 1
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
    assert "(batch, 31) for a batch of 2. Got (2, 32)" in str(extractor.problems["penultimate"])
    assert extractor.features(np.zeros((2, 16, 16, 3), np.uint8)) == {}


def test_the_key_changes_with_whatever_can_change_the_bytes(image_spec, tiny):
    dataset = Dataset(image_spec)

    def key(spec=None, data=dataset, storage="float16", resize="squash", compute="fp32", split="train", **tap):
        return feature_set(identify(spec or tiny(), resize=resize, compute=compute), data, split, storage, **tap).key

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
        key(tap="pooled"),
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
        Extractor(identify(tiny(), resize="squash", compute=compute), "cpu").features(pixels)[PENULTIMATE]
        for compute in ("fp32", "bf16")
    )
    assert 0 < np.abs(brief - single).max() < 0.05


TAPS = ("block:0", PENULTIMATE, "logits", "cls")


def test_several_taps_come_out_of_one_pass(store, image_spec, tiny, monkeypatch):
    passes, forward = [], Extractor._forward
    monkeypatch.setattr(Extractor, "_forward", lambda *args: passes.append(len(args[1])) or forward(*args))
    dataset = Dataset(image_spec)
    extract(store, dataset, tiny(), taps=("block:0", PENULTIMATE))
    assert sum(passes) == 40 + 4  # the trial images, once
    model = identify(tiny(), resize="squash", compute="fp32")
    sets = {tap: feature_set(model, dataset, "test", "float16", tap=tap) for tap in ("block:0", PENULTIMATE)}
    assert {tap: store.read(item).X.shape for tap, item in sets.items()} == {"block:0": (8, 8), PENULTIMATE: (8, 32)}
    assert sets["block:0"] in store.sets()


def test_a_tap_that_a_network_lacks_fails_alone(store, image_spec, tiny):
    report = extract(store, Dataset(image_spec), tiny(), taps=TAPS)[0]
    failures = {outcome.target.tap: outcome.failure for outcome in report.outcomes}
    assert {tap for tap, failure in failures.items() if failure} == {"logits", "cls"}
    assert "no linear classifier" in failures["logits"].message
    assert "forward_features" in failures["cls"].message


def test_computing_in_bf16_is_measured_and_recorded(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    extract(store, dataset, tiny(), compute="bf16")
    model = identify(tiny(), resize="squash", compute="bf16")
    measured = store.manifest(feature_set(model, dataset, "train", "float16"))["precision"]
    assert measured["n_images"] == 8
    assert 0 < measured["relative_error"] <= measured["largest_relative_error"] < 0.05
    assert 0.99 < measured["smallest_cosine"] < 1
    extract(store, dataset, tiny())
    single = identify(tiny(), resize="squash", compute="fp32")
    assert "precision" not in store.manifest(feature_set(single, dataset, "train", "float16"))


def test_what_bf16_changes_too_much_is_refused(store, image_spec, tiny):
    reports = extract(store, Dataset(image_spec), tiny(), compute="bf16", max_relative_error=1e-6)
    assert "at most 0.00% is allowed" in reports[0].outcomes[0].failure.message
    assert not [item for item in store.sets() if item.folder.startswith("features")]


def test_the_manifest_says_what_the_features_were_made_with(store, image_spec, tiny):
    dataset = Dataset(image_spec)
    extract(store, dataset, tiny())
    manifest = store.manifest(feature_set(identify(tiny(), resize="squash", compute="fp32"), dataset, "val", "float16"))
    assert manifest["samples"] == dataset.samples("val").key
    assert manifest["extraction"]["device"] == "cpu"
    assert manifest["extraction"]["versions"]["torch"] == version("torch")
    (made,) = manifest["made_with"]
    assert (made["device"], made["versions"]["pillow"]) == ("cpu", version("pillow"))
    assert len(made["fingerprint"]) == 4 * N_PROJECTIONS
    assert (made["parts"], made["images"]) == (len(manifest["parts"]), manifest["rows"])
    assert {part["made"] for part in manifest["parts"]} == {made["made"]}


def test_a_set_that_two_installations_made_lists_both_with_their_counts(store, image_spec, tiny, monkeypatch):
    dataset, model = Dataset(image_spec), identify(tiny(), resize="squash", compute="fp32")
    target = feature_set(model, dataset, "train", "float16")
    jobs = [Job(model, ((target, "float16"),))]
    options = {"batch_size": 4, "decode_threads": 1}
    extract_shard(store, dataset, "train", 0, jobs, Extractors("cpu"), **options)
    monkeypatch.setattr(installation, "versions", lambda: {"timm": "9.9.9"})
    for shard in range(1, dataset.n_shards("train")):
        extract_shard(store, dataset, "train", shard, jobs, Extractors("cpu"), **options)
    FullSet.of_features(model, dataset, "train", "float16").complete(store)
    manifest = store.manifest(target)
    assert [made["versions"].get("timm") for made in manifest["made_with"]] == [version("timm"), "9.9.9"]
    assert [made["parts"] for made in manifest["made_with"]] == [1, dataset.n_shards("train") - 1]
    assert sum(made["images"] for made in manifest["made_with"]) == manifest["rows"]
    assert manifest["fingerprint"] == dataset.fingerprint  # of the images, as before


def test_a_network_that_gives_something_else_than_its_reference_writes_nothing(store, image_spec, tiny):
    dataset, model = Dataset(image_spec), identify(tiny(), resize="squash", compute="fp32")
    own = Extractor(model, "cpu").fingerprints()[PENULTIMATE]
    other = Reference(PENULTIMATE, tuple(1.05 * value for value in own), Installation("{}", "cpu"), "elsewhere")
    reports = extract(store, dataset, tiny(), references=References((other,)))
    failure = reports[0].outcomes[0].failure
    assert (failure.error, failure.verdict) == ("DriftError", "passing")
    assert "4.76%" in failure.message
    assert not [item for item in store.sets() if item.folder.startswith("features")]


def test_a_part_names_the_reference_that_it_agrees_with(store, image_spec, tiny):
    dataset, model = Dataset(image_spec), identify(tiny(), resize="squash", compute="fp32")
    near = tuple(1.0001 * value for value in Extractor(model, "cpu").fingerprints()[PENULTIMATE])
    reference = Reference(PENULTIMATE, near, Installation("{}", "cpu"), "elsewhere")
    reports = extract(store, dataset, tiny(), references=References((reference,)))
    (made,) = store.manifest(feature_set(model, dataset, "val", "float16"))["made_with"]
    assert tuple(made["fingerprint"]) == near
    assert reports[0].taken[0].installation.device == "cpu"


def test_memory_that_runs_out_halves_the_batch_from_then_on(tiny):
    extractor = Extractor(identify(tiny("greedy"), resize="squash", compute="fp32"), "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)
    one_by_one = [extractor.features(pixels[[i]])[PENULTIMATE] for i in range(11)]
    found = extractor.features(pixels)[PENULTIMATE]
    np.testing.assert_allclose(found, np.concatenate(one_by_one), rtol=1e-5, atol=1e-6)
    assert extractor._batch_limit == 2


def test_a_network_that_no_single_image_fits_is_named(tiny):
    extractor = Extractor(identify(tiny("greedy"), resize="squash", compute="fp32"), "cpu")
    extractor._network.limit = 0
    with pytest.raises(BackboneError, match="does not fit the memory of this device"):
        extractor.features(np.zeros((2, 16, 16, 3), np.uint8))


@pytest.mark.slow
def test_networks_that_are_not_asked_for_make_room_for_others(tiny):
    models = [identify(tiny(name=f"tiny_{seed}", seed=seed), resize="squash", compute="fp32") for seed in range(3)]
    extractors = Extractors("cpu", weight_bytes=2 * Extractor(models[0], "cpu").weight_bytes)
    first = extractors.get(models[0])
    for model in models:
        extractors.get(model)
    assert extractors.get(models[2]) is extractors.get(models[2])
    assert extractors.get(models[0]) is not first


@pytest.mark.slow
def test_networks_of_one_shard_are_kept_together_whatever_their_size(tiny):
    models = [identify(tiny(name=f"tiny_{seed}", seed=seed), resize="squash", compute="fp32") for seed in range(3)]
    extractors = Extractors("cpu", weight_bytes=1)
    extractors.hold(models)
    loaded = [extractors.get(model) for model in models]
    assert [extractors.get(model) for model in models] == loaded
    extractors.hold(models[:1])
    extractors.get(models[0])
    assert extractors.get(models[2]) is not loaded[2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compute", ["fp32", "bf16", "fp16"])
def test_cuda_gives_the_features_of_the_cpu(tiny, compute):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    cpu = Extractor(identify(tiny(), resize="squash", compute="fp32"), "cpu").features(pixels)[PENULTIMATE]
    cuda = Extractor(identify(tiny(), resize="squash", compute=compute), "cuda").features(pixels)[PENULTIMATE]
    np.testing.assert_allclose(cuda, cpu, atol=1e-3 if compute == "fp32" else 0.05)
