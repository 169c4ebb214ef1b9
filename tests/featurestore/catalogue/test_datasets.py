from dataclasses import replace

import pytest

from featurestore.catalogue.datasets import CATALOGUE, find_dataset, known_datasets
from featurestore.errors import ConfigurationError, UnknownNameError


def test_names_of_the_catalogue_are_unique():
    assert len(known_datasets()) == len(CATALOGUE)


def test_a_users_record_replaces_the_catalogues(image_spec):
    mine = replace(image_spec, name="digits")
    assert find_dataset("digits", [mine]) is mine


def test_an_unknown_dataset_comes_with_suggestions():
    with pytest.raises(UnknownNameError, match="Did you mean 'mnist_5k'"):
        find_dataset("mnist5k")


@pytest.mark.parametrize("change", [{"limit": 0}, {"val_fraction": 1.0}, {"shard_images": 0}, {"source": "digits"}])
def test_a_record_that_cannot_be_right_is_refused(image_spec, change):
    with pytest.raises(ConfigurationError, match="must"):
        replace(image_spec, **change)
