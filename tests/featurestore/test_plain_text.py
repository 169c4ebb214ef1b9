import doctest

from featurestore import plain_text
from featurestore.plain_text import bytes_text, counted
from featurestore.store import layout


def test_examples_in_docstrings_are_true():
    for module in (plain_text, layout):
        found = doctest.testmod(module)
        assert found.attempted
        assert not found.failed


def test_what_is_one_is_in_the_singular():
    assert [counted(number, "shard") for number in (0, 1, 2, 1000)] == [
        "0 shards",
        "1 shard",
        "2 shards",
        "1,000 shards",
    ]


def test_sizes_never_reach_a_thousand_of_a_unit():
    assert bytes_text(0) == "0 bytes"
    assert bytes_text(999.6) == "1 kB"
    assert bytes_text(999_999_999) == "1 GB"
    assert bytes_text(2.5e18) == "2.5e+03 PB"
