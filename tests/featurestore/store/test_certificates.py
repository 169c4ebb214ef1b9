"""Which file of certificate authorities is taken."""

from pathlib import Path

import pytest
from tls_front import make_certificate

from featurestore.errors import ConfigurationError
from featurestore.store.certificates import VARIABLES, authority_file
from featurestore.store.storage import Storage


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_authorities_of_all_variables_are_taken_and_the_option_stands_alone(tmp_path, monkeypatch):
    files = {}
    for name in (*VARIABLES, "profile", "option"):
        (tmp_path / name).mkdir()
        files[name] = make_certificate(tmp_path / name)
    assert authority_file(None) is None
    assert authority_file(None, str(files["profile"])) == str(files["profile"])
    for name in VARIABLES:
        monkeypatch.setenv(name, str(files[name]))
    taken = Path(str(authority_file(None, str(files["profile"])))).read_text()
    assert taken.count("BEGIN CERTIFICATE") == 5
    assert all(files[name].read_text() in taken for name in (*VARIABLES, "profile"))
    assert authority_file(str(files["option"])) == str(files["option"])


def test_an_empty_variable_and_a_folder_of_other_programs_name_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert authority_file(None) is None


@pytest.mark.parametrize("problem", ["No such file", "there is no certificate in it", "Is a directory"])
def test_a_file_that_cannot_be_used_is_named_with_who_named_it(tmp_path, monkeypatch, problem):
    path = {"No such file": tmp_path / "gone", "Is a directory": tmp_path}.get(problem, tmp_path / "text")
    if problem.startswith("there"):
        path.write_text("no certificate")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    with pytest.raises(ConfigurationError, match=f"AWS_CA_BUNDLE names {path}: {problem}"):
        Storage("s3://bucket/a", {"endpoint": "https://127.0.0.1:1"})
    Storage("s3://bucket/a", {"endpoint": "http://127.0.0.1:1"})  # without TLS nobody asks for it


def test_google_cloud_says_which_variable_it_reads():
    with pytest.raises(ConfigurationError, match="reads the variable SSL_CERT_FILE only"):
        Storage("gs://bucket/a", {"ca_file": "a.pem"})
