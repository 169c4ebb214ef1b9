import pytest

from featurestore.errors import ConfigurationError
from featurestore.store.layout import (
    FeatureSet,
    SampleSet,
    check_name,
    content_key,
    parse_folder,
    parse_part,
    part_name,
)


def test_folders_and_sets_are_each_others_inverse():
    for item in (
        FeatureSet("resnet50.a1", "pets", "val", "k1"),
        FeatureSet("net", "pets", "val", "k", "block:layers.3"),
        SampleSet("pets", "test", "k2"),
    ):
        assert parse_folder(item.folder) == item


def test_a_part_name_says_which_shard_of_how_many():
    assert part_name(3, 12) == "part-00003-of-00012.parquet"
    assert parse_part("part-00003-of-00012.parquet") == (3, 12)
    assert parse_part("manifest.json") is None


def test_equal_parts_give_equal_keys_whatever_their_order():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", ".hidden", "x" * 101, "naïve"])
def test_names_that_could_leave_their_folder_are_refused(name):
    with pytest.raises(ConfigurationError, match="path"):
        check_name("model", name)
