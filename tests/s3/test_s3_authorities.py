"""An S3 server whose certificate is of a private authority."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tls_front import make_certificate, tls_front

from featurestore.errors import StoreError
from featurestore.store.certificates import VARIABLES
from featurestore.store.storage import Storage


@pytest.fixture
def front(endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Puts a TLS server with a certificate before the endpoint, and lets the variables lead there."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    url, fronts = urlsplit(endpoint), []

    def put(certificate: Path) -> None:
        fronts.append(tls_front((url.hostname or "", url.port or 0), certificate))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{fronts[-1].__enter__()}")

    yield put
    for opened in fronts:
        opened.__exit__(None, None, None)


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_usual_variable_names_the_authority(bucket, front, tmp_path, monkeypatch, variable):
    front(make_certificate(tmp_path))
    (tmp_path / "other").mkdir()
    for name in VARIABLES:  # which a machine may have set for all of its users
        monkeypatch.setenv(name, str(make_certificate(tmp_path / "other")))
    monkeypatch.setenv(variable, str(tmp_path / "authority.pem"))
    storage = Storage(f"{bucket}/store")
    storage.publish("part", b"x")
    assert storage.read_bytes("part") == b"x"


def test_an_option_and_a_profile_name_the_authority(bucket, front, tmp_path, monkeypatch):
    front(make_certificate(tmp_path))
    monkeypatch.chdir(tmp_path)
    by_option = Storage(f"{bucket}/store", {"ca_file": "authority.pem"})
    assert by_option.list_files("") == []
    assert by_option.place.options["ca_file"] == str(tmp_path / "authority.pem")  # for processes in other folders
    (tmp_path / "config").write_text(f"[profile lab]\nca_bundle = {tmp_path}/authority.pem\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert Storage(f"{bucket}/store").list_files("") == []


@pytest.mark.parametrize(
    ("certificate", "message"),
    [
        (
            {},
            "that this machine does not know: give the authority's file as the variable AWS_CA_BUNDLE",
        ),
        ({"host": "elsewhere"}, "certificate is for another host name: give the endpoint by that name"),
        ({"days": -1}, "certificate is not valid now: have it renewed, or set the clock"),
    ],
)
def test_a_certificate_that_cannot_be_accepted_is_said_without_our_own_tries(
    bucket, front, tmp_path, certificate, message
):
    front(make_certificate(tmp_path, **certificate))
    known = {"ca_file": str(tmp_path / "authority.pem")} if certificate else {}
    began = time.monotonic()
    with pytest.raises(StoreError, match=message):
        Storage(f"{bucket}/store", known).list_files("")
    assert time.monotonic() - began < 6  # the S3 client itself tries three times within two seconds
