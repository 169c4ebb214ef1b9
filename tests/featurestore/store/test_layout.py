import hashlib
import json
import random
from dataclasses import asdict, dataclass, fields, make_dataclass
from typing import Any

import pytest
from stored import cell

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import ConfigurationError
from featurestore.images.preprocessing import Geometry, Preprocessing
from featurestore.images.splits import Dataset
from featurestore.store import schema
from featurestore.store.layout import (
    FeatureSet,
    SampleSet,
    added_later,
    check_name,
    content_key,
    files_of_shards,
    key_fields,
    key_text,
    key_texts,
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


def test_a_part_that_is_named_by_its_content_says_the_same():
    name = part_name(3, 12, "0123456789abcdef" * 2)
    assert name == "part-00003-of-00012.0123456789abcdef.parquet"
    assert parse_part(name) == (3, 12)
    assert parse_part("part-00003-of-00012.0123.parquet") is None


def test_the_files_of_a_shard_are_found_by_its_number():
    first, second = (part_name(1, 2, digit * 32) for digit in "ab")
    names = [second, part_name(0, 2), first, "manifest.json", part_name(0, 3)]
    assert files_of_shards(names, n_shards=2) == {0: [part_name(0, 2)], 1: [first, second]}
    assert files_of_shards(names)[0] == [part_name(0, 2), part_name(0, 3)]


def test_equal_parts_give_equal_keys_whatever_their_order():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


def test_texts_of_parts_that_keys_share_give_the_keys_that_the_parts_give():
    """As keys were made when nothing was shared: one JSON of all parts."""
    rng = random.Random(0)
    for _ in range(500):
        parts = {some_text(rng): some_part(rng) for _ in range(rng.randrange(6))}
        texts = {name: key_text(part) if rng.random() < 0.5 else part for name, part in parts.items()}
        inner = {name: key_text(key_texts(part)) for name, part in parts.items() if isinstance(part, dict)}
        canonical = json.dumps({**parts, "schema_version": 1}, sort_keys=True, separators=(",", ":"))
        former = hashlib.sha256(canonical.encode()).hexdigest()[:24]
        assert content_key(parts) == content_key(texts) == content_key(texts | inner) == former, parts


def test_a_text_inside_a_value_is_no_part_of_a_key():
    with pytest.raises(TypeError, match="KeyText"):
        content_key({"a": [key_text(1)]})


def some_part(rng: random.Random, depth: int = 0) -> Any:
    kinds = [lambda: rng.choice([None, True, False, 1e-300, 0.1, 1e22, -0.0, 3.0, 10**30, 7]), lambda: some_text(rng)]
    if depth < 3:
        some = range(rng.randrange(4))
        kinds.append(lambda: rng.choice([list, tuple])(some_part(rng, depth + 1) for _ in some))
        kinds.append(lambda: {some_text(rng): some_part(rng, depth + 1) for _ in some})
    return rng.choice(kinds)()


def some_text(rng: random.Random) -> str:
    return "".join(rng.choices('aZ_é"\\\n\u2028\x00 😀', k=rng.randrange(4)))


def test_no_key_depends_on_the_version_of_the_format(monkeypatch):
    before = content_key({"a": 1})
    monkeypatch.setattr(schema, "FORMAT_VERSION", schema.FORMAT_VERSION + 1)
    assert content_key({"a": 1}) == before


GEOMETRY = Geometry(224, "squash", "bicubic", 1.0)


def grown(record: Any, **more: Any) -> Any:
    """The same record of a class that has got a field since: `toy`, which was 1 when there was none."""
    kind = make_dataclass("Grown", [("toy", int, added_later(1))], bases=(type(record),), frozen=True, kw_only=True)
    return kind(**{entry.name: getattr(record, entry.name) for entry in fields(record)}, **more)


@pytest.mark.parametrize("record", [DatasetSpec(name="pets", source="packaged:digits"), GEOMETRY, cell("logistic")])
def test_a_field_that_was_added_later_enters_a_key_only_where_it_is_not_what_it_was(record):
    first = {entry.name: asdict(record)[entry.name] for entry in fields(record) if not entry.metadata}
    assert key_fields(record) == key_fields(grown(record)) == key_fields(grown(record, toy=1)) == first
    assert key_fields(grown(record, toy=2)) == {**first, "toy": 2}


def test_keys_of_image_tables_stay_when_a_dataset_gets_a_field(image_spec):
    keys = [Dataset(spec).samples("train").key for spec in (image_spec, grown(image_spec), grown(image_spec, toy=2))]
    assert keys[0] == keys[1] != keys[2]


def test_a_record_inside_a_record_may_grow_too():
    before = Preprocessing(GEOMETRY, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert Preprocessing(grown(GEOMETRY), before.mean, before.std).as_record() == before.as_record()
    changed = Preprocessing(grown(GEOMETRY, toy=2), before.mean, before.std).as_record()
    assert changed["geometry"] == {**before.as_record()["geometry"], "toy": 2}


def test_what_a_key_does_not_depend_on_is_left_out():
    @dataclass(frozen=True)
    class Wanted:
        name: str
        size: int

    assert key_fields(Wanted("pets", 3), without=("name",)) == {"size": 3}


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", ".hidden", "x" * 101, "naïve"])
def test_names_that_could_leave_their_folder_are_refused(name):
    with pytest.raises(ConfigurationError, match="path"):
        check_name("model", name)
