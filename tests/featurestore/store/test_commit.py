"""Files that appear whole or not at all, on a local file system that refuses them in every real way."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from featurestore.errors import ConfigurationError, StoreError, UnknownNameError
from featurestore.store.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def in_child(code: str, *arguments: object, uid: int = 0) -> str:
    """Run code in a process of its own, as another user when the tests are run by root, and return what it prints."""
    script = textwrap.dedent(code)
    user = {"user": uid, "group": uid} if uid else {}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, **user
    )
    return done.stdout + done.stderr


def test_a_file_that_is_there_is_not_replaced_by_a_new_one(storage, tmp_path):
    assert storage.publish_new("a/b", b"first")
    assert not storage.publish_new("a/b", b"second")
    assert storage.read_bytes("a/b") == b"first"
    storage.publish("a/b", b"third")
    assert storage.read_bytes("a/b") == b"third"
    assert names(tmp_path) == ["a/b"]


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_file_or_none(tmp_path):
    """SIGKILL at moments spread over the time of many writes of two kinds of content."""
    code = """
        import sys
        from featurestore.store.storage import Storage
        storage = Storage(sys.argv[1])
        print("ready", flush=True)
        while True:
            for letter in (b"a", b"b"):
                storage.publish("file", letter * 3_000_000)
    """
    script = textwrap.dedent(code)
    for round_ in range(5):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        with child:
            child.stdout.readline()
            threading.Event().wait(0.01 + 0.013 * round_)
            child.kill()
        visible = tmp_path / "file"
        if visible.exists():
            assert visible.read_bytes() in (b"a" * 3_000_000, b"b" * 3_000_000)


WRITE = """
    import sys
    from featurestore.store.storage import Storage
    from featurestore.errors import StoreError
    try:
        Storage(sys.argv[1]).publish("part", b"x" * 3_000_000)
    except StoreError as error:
        print("StoreError:", error)
"""


def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path):
    """A real file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        said = in_child(WRITE, place)
        left = names(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert "StoreError: Cannot write part" in said
    assert "No space left on device" in said
    assert "Nothing that was already stored is lost. The disk is full: make room" in said
    assert left == []


def test_a_read_only_file_system_is_said(tmp_path):
    place = tmp_path / "fixed"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        said = in_child(WRITE, place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert "The file system is read-only: mount it for writing, or use another store" in said


def test_a_missing_permission_is_said():
    """As another user where the tests are run by root, whom no permission stops."""
    uid = 65534 if os.getuid() == 0 else 0
    code = f"""
        import os, sys, tempfile
        from featurestore.store.storage import Storage
        from featurestore.errors import StoreError
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o555)
            if {uid}:
                os.setuid({uid})
            try:
                Storage(folder).publish("part", b"x")
            except StoreError as error:
                print("StoreError:", error)
            sys.stdout.flush()
            os._exit(0)
    """
    said = in_child(code)
    assert "StoreError: Cannot write part" in said
    assert "The permission is missing: get it, and run the same command again" in said


def test_file_systems_without_hard_links_keep_the_first_file_too(storage, monkeypatch):
    """The refusal is made here: no file system without links can be mounted everywhere."""

    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert storage.publish_new("a", b"first")
    assert not storage.publish_new("a", b"second")
    assert storage.read_bytes("a") == b"first"


# ---- places --------------------------------------------------------------------------------------------------------


def test_a_file_uri_is_the_folder(tmp_path):
    assert Storage(f"{tmp_path.as_uri()}/a%20b").uri == f"{tmp_path}/a b"


@pytest.mark.parametrize(
    ("uri", "options", "message"),
    [
        ("s3://bucket/a", {"acces_key": "x"}, "Unknown storage option of s3:// 'acces_key'. Did you mean 'access_key'"),
        ("gs://bucket/a", {"region": "x"}, "Unknown storage option of gs:// 'region'"),
        ("folder", {"region": "x"}, "Unknown storage option of a local path 'region'. It takes none"),
        ("s3://bucket/a", {"anonymous": "yes"}, "anonymous must be true or false. Got 'yes'"),
        ("s3://bucket/a", {"retries": "-1"}, "retries must be a whole number"),
        ("s3://bucket/a", {"request_timeout": "soon"}, "request_timeout must be a number of seconds. Got 'soon'"),
    ],
)
def test_options_that_cannot_be_used_are_named(uri, options, message):
    with pytest.raises(ConfigurationError) as caught:
        Storage(uri, options)
    assert message in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://me:secret@bucket/a", "s3://bucket/a?endpoint_override=x", "s3://"])
def test_the_uri_of_a_store_holds_no_secrets_and_names_a_place(uri):
    with pytest.raises(ConfigurationError) as caught:
        Storage(uri)
    assert "secret" not in str(caught.value)


def test_credentials_are_not_shown():
    storage = Storage("s3://bucket/a", {"secret_key": "hidden", "access_key": "hidden", "region": "eu-west-1"})
    assert "hidden" not in repr(storage.place)


def test_a_missing_driver_is_named():
    with pytest.raises(StoreError, match="driver is not installed.*adlfs"):
        Storage("az://container/store", {"account_name": "x"})
    with pytest.raises(StoreError, match="Protocol not known: nonsense"):
        Storage("nonsense://x/y")
    assert not issubclass(StoreError, UnknownNameError)


def test_a_store_behind_http_is_refused_with_what_to_give_instead():
    with pytest.raises(StoreError, match="Give s3://bucket/prefix, with --storage-option endpoint=https://HOST"):
        Storage("https://host/bucket/a")


def test_google_cloud_is_opened_by_its_own_driver_and_asks_nobody():
    place = Storage("gs://bucket/a", {"anonymous": "true", "endpoint": "127.0.0.1:1", "scheme": "http"}).place
    assert (place.kind, place.root) == ("gs", "bucket/a")
