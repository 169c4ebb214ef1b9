"""Forms of the URI of a store: what is refused with the right form, and what goes on working."""

import random

import pytest

from featurestore.errors import ConfigurationError
from featurestore.store.places import open_place
from featurestore.store.store_uris import check_uri

LOCAL_S3 = {"endpoint": "http://127.0.0.1:1", "region": "x"}


@pytest.mark.parametrize(
    ("uri", "right"),
    [
        ("s3://bucket//a", "s3://bucket/a"),
        ("s3:///bucket/a", "s3://bucket/a"),
        ("s3://bucket/a//", "s3://bucket/a"),
        ("s3://bucket/a/./b", "s3://bucket/a/b"),
        ("s3://bucket/a/../b", "s3://bucket/b"),
        ("s3://bucket/..", "s3://bucket"),
        ("s3://bucket\\a", "s3://bucket/a"),
        ("s3://bucket/a ", "s3://bucket/a"),
        ("s3://bucket/ a", "s3://bucket/a"),
        ("s3://bucket/a\nb", "s3://bucket/ab"),
        ("gs://bucket//a", "gs://bucket/a"),
        ("memory://a//b", "memory://a/b"),
        ("http://host/a/../b", "http://host/b"),
        ("s3:/bucket/a", "s3://bucket/a, or ./s3:/bucket/a for a folder of that name"),
        ("s3:bucket/a", "s3://bucket/a"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("s3a://bucket/a", "s3://bucket/a"),
        (" s3://bucket/a", "s3://bucket/a"),
    ],
)
def test_a_uri_that_readers_take_for_several_places_is_refused_with_the_right_form(uri, right):
    with pytest.raises(ConfigurationError) as caught:
        open_place(uri)
    assert f"Write {right}" in str(caught.value)


@pytest.mark.parametrize("seed", range(200))
def test_every_other_prefix_is_one_and_stays_as_it_is(seed):
    """With spaces inside, percent signs, plus signs and letters of any script."""
    draw = random.Random(seed)
    parts = [
        "".join(draw.choices("aZ09 %+&=~;,@:!$'()_-.äßжéक中\u200d\U0001f600", k=draw.randint(1, 9))) for _ in range(3)
    ]
    prefix = "/".join(f"x{part}x" for part in parts)
    for slash in ("", "/"):
        place = open_place(f"s3://bucket/{prefix}{slash}", LOCAL_S3)
        assert (place.uri, place.root) == (f"s3://bucket/{prefix}", f"bucket/{prefix}")


def test_a_container_of_azure_is_no_user():
    check_uri("abfs://container@account.dfs.core.windows.net/prefix")
    with pytest.raises(ConfigurationError, match="neither credentials nor options"):
        check_uri("abfs://container:secret@account.dfs.core.windows.net/prefix")
