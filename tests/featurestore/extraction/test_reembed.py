"""Images that are embedded again must give what is stored of them."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from extracting import extract
from PIL import Image

from featurestore import FeatureSet, FeatureStore
from featurestore.extraction.reembed import TOLERANCE, reembed
from featurestore.images.splits import Dataset
from featurestore.networks.extractor import Extractor
from featurestore.networks.identity import Model, feature_set, identify
from featurestore.store import layout
from featurestore.store.commit import encode_table

ROWS = [0, 1, 9, 20]


@pytest.fixture
def dataset(image_spec) -> Dataset:
    return Dataset(image_spec)


@pytest.fixture
def model(tiny) -> Model:
    return identify(tiny(), resize="squash", compute="fp32")


@pytest.fixture
def item(store, dataset, model, tiny) -> FeatureSet:
    extract(store, dataset, tiny())
    return feature_set(model, dataset, "train", "float16")


def rewrite(store: FeatureStore, item: FeatureSet, change) -> None:
    """Other features in the first part, of which the manifest says nothing."""
    path = Path(store.uri, item.folder, layout.part_name(0, len(store.manifest(item)["parts"])))
    table = pq.read_table(path)
    X = change(np.array(table.column("feature").to_pylist(), np.float16))
    field = table.schema.field("feature")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), type=field.type)
    changed = table.set_column(table.column_names.index("feature"), field, vectors)
    path.write_bytes(encode_table(changed, path.relative_to(store.uri).as_posix()))


def test_what_was_extracted_is_found_again_within_the_tolerance(store, dataset, model, item):
    compared = reembed(store, Extractor(model, "cpu"), dataset, item, ROWS)
    assert compared.problems == []
    assert compared.n_images == len(ROWS)
    assert 0 < compared.largest_relative_error < TOLERANCE["fp32"]


def test_features_of_another_image_are_found(store, dataset, model, item):
    rewrite(store, item, lambda X: X[::-1])
    compared = reembed(store, Extractor(model, "cpu"), dataset, item, ROWS)
    assert [problem.split(" differ")[0] for problem in compared.problems] == [
        "features of image 0",
        "features of image 1",
    ]


def replace_unseen(path: Path, content: bytes) -> None:
    """Write another content with the size and the time of change that the file has, as a failing disk does."""
    before = path.stat()
    assert len(content) < before.st_size
    path.write_bytes(content.ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_image_that_was_changed_or_damaged_since_is_found(store, dataset, model, item, images):
    paths = [images / raw.origin for row in ROWS for raw in dataset.read("train", row, row + 1)]
    black = BytesIO()
    Image.new("RGB", (30, 24)).save(black, "PNG")
    replace_unseen(paths[0], black.getvalue())
    replace_unseen(paths[1], b"damaged")
    problems = reembed(store, Extractor(model, "cpu"), dataset, item, ROWS).problems
    assert problems[0] == "image 0 has other bytes now"
    assert "image 1 is unreadable now" in problems


def test_every_tap_can_be_compared(store, dataset, model, tiny):
    extract(store, dataset, tiny(), taps=("penultimate", "block:1"))
    item = feature_set(model, dataset, "val", "float16", tap="block:1")
    assert reembed(store, Extractor(model, "cpu", ["block:1"]), dataset, item, [0, 1]).problems == []
