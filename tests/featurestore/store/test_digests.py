"""Seals: what a Parquet file says of itself."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.store.commit import encode_table
from featurestore.store.digests import is_intact

TABLE = pa.table({"name": ["ann", "bob", None], "value": [0.5, 0.25, 1.0], "labels": [[1, 2], [], None]})
NAME = "models/ann.parquet"


@pytest.fixture(scope="module")
def content() -> bytes:
    return encode_table(TABLE, NAME).to_pybytes()


def test_a_sealed_file_is_an_ordinary_parquet_file(content):
    assert is_intact(content, NAME)
    assert pq.read_table(pa.BufferReader(content)) == TABLE
    assert encode_table(TABLE, NAME).to_pybytes() == content


def test_no_changed_bit_goes_unnoticed(content):
    """But for the mark of the seal itself, without which the file looks like one of an earlier version."""
    unmarked = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        assert not is_intact(damaged, NAME)
        unmarked += is_intact(damaged, NAME) is None
    assert unmarked <= 24


def test_a_cut_file_a_tail_of_zeros_and_more_bytes_are_noticed(content):
    rng = np.random.default_rng(0)
    for end in rng.integers(0, len(content), 200).tolist():
        assert not is_intact(content[:end], NAME)
        assert not is_intact(content[:end] + bytes(len(content) - end), NAME)
        assert not is_intact(content + content[end:], NAME)


def test_a_file_in_the_place_of_another_is_noticed(content):
    assert is_intact(content, "models/bob.parquet") is False


def test_rows_that_were_read_from_a_sealed_file_can_be_written_again(content):
    assert is_intact(encode_table(pq.read_table(pa.BufferReader(content)).slice(1), NAME), NAME)


def test_a_file_of_another_program_has_no_seal(tmp_path):
    pq.write_table(TABLE, tmp_path / "table.parquet")
    assert is_intact((tmp_path / "table.parquet").read_bytes(), "table.parquet") is None
    assert is_intact(b"", NAME) is None
