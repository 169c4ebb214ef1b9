"""What every image source must do. The test module of a source inherits it and says how to make a small dataset."""

from __future__ import annotations

import numpy as np
import pytest

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ProbestoreError
from featurestore.images import preprocessing
from featurestore.images.sources import Source, open_source
from featurestore.images.splits import Dataset


class SourceContract:
    """Inherited by a class whose fixture `spec` is the record of a dataset with two classes or more."""

    @pytest.fixture
    def source(self, spec: DatasetSpec) -> Source:
        return open_source(spec)

    def test_it_has_a_training_split_and_no_empty_one(self, source: Source):
        assert "train" in source.splits()
        assert min(source.splits().values()) > 0

    def test_every_image_has_a_label_among_the_classes(self, source: Source):
        assert len(set(source.classes)) == len(source.classes) >= 2
        for split, size in source.splits().items():
            labels = source.labels(split)
            if labels.ndim == 1:
                assert labels.dtype == np.int64
                assert labels.shape == (size,)
                assert set(labels.tolist()) <= set(range(len(source.classes)))
            else:
                assert labels.dtype == np.bool_
                assert labels.shape == (size, len(source.classes))

    def test_groups_are_one_per_image_or_none_at_all(self, source: Source):
        for split, size in source.splits().items():
            groups = source.groups(split)
            assert groups is None or len(groups) == size

    def test_rows_are_read_in_the_order_that_is_asked_for(self, source: Source):
        in_order = [raw.origin for raw in source.read("train", np.arange(4))]
        assert len(set(in_order)) == 4
        assert [raw.origin for raw in source.read("train", np.array([3, 0, 0, 2]))] == [
            in_order[row] for row in (3, 0, 0, 2)
        ]
        assert list(source.read("train", np.arange(0))) == []

    def test_images_can_be_decoded(self, source: Source):
        for raw in source.read("train", np.arange(4)):
            assert raw.reason is None
            assert preprocessing.decode(raw.content).mode == "RGB"

    def test_its_fingerprint_is_that_of_what_is_there(self, spec: DatasetSpec):
        assert open_source(spec).fingerprint() == open_source(spec).fingerprint()

    def test_it_makes_a_dataset_of_three_splits(self, spec: DatasetSpec):
        dataset = Dataset(spec)
        assert all(len(dataset.splits[split].rows) for split in ("train", "val", "test"))

    def test_a_place_that_is_not_there_is_named(self, spec: DatasetSpec):
        with pytest.raises(ProbestoreError, match="nowhere"):
            open_source(DatasetSpec(name="none", source=f"{spec.family}:nowhere"))
