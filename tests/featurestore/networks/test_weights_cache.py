"""Where weights that are fetched are kept, and what is said where they cannot be."""

import pytest

from featurestore.errors import BackboneError
from featurestore.networks.weights import download


def test_a_cache_that_cannot_be_written_is_named_with_its_variables(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(
        BackboneError, match=r"Cannot keep the weights .*Not a directory.*set HOME, or HF_HOME and TORCH"
    ):
        download("https://127.0.0.1:9/net-0123456789.pth")
