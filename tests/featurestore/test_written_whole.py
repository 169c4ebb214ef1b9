"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from featurestore.written_whole import AlreadyThereError, written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write(path: Path, text: str, **options: bool) -> None:
    with written_whole(path, **options) as staged:
        staged.write_text(text)


def test_a_file_takes_its_place_when_the_block_ends(tmp_path):
    with written_whole(tmp_path / "new folder" / "page.html") as staged:
        staged.write_text("whole")
        assert names(tmp_path) == [staged.relative_to(tmp_path).as_posix()]
    assert names(tmp_path) == ["new folder/page.html"]


def test_a_folder_that_is_not_there_can_be_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "mistyped" / "a", "text", folders=False)
    assert not (tmp_path / "mistyped").exists()


def test_after_an_error_what_was_there_is_still_there_and_nothing_else(tmp_path):
    write(tmp_path / "a", "first")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "a", "half \ud800")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "first"


def test_what_is_not_to_be_replaced_is_kept(tmp_path):
    write(tmp_path / "a", "first", replace=False)
    with pytest.raises(AlreadyThereError):
        write(tmp_path / "a", "second", replace=False)
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == ["a"]


def test_a_folder_appears_at_once_and_is_never_replaced(tmp_path):
    for text in ("first", "second"):
        try:
            with written_whole(tmp_path / "entry") as staged:
                staged.mkdir()
                (staged / "file").write_text(text)
        except OSError:
            assert text == "second"
    assert names(tmp_path) == ["entry/file"]
    assert (tmp_path / "entry" / "file").read_text() == "first"


@pytest.mark.parametrize(("durable", "variable", "flushed"), [(True, None, 2), (True, "0", 0), (False, None, 0)])
def test_the_disk_is_waited_for_when_asked_unless_a_variable_says_no(tmp_path, monkeypatch, durable, variable, flushed):
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    monkeypatch.delenv("PROBESTORE_FSYNC", raising=False)
    if variable:
        monkeypatch.setenv("PROBESTORE_FSYNC", variable)
    write(tmp_path / "a", "text", durable=durable)
    assert len(calls) == flushed
