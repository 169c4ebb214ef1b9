"""The command line speaks to streams of any encoding, to pipes that close, and to none."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cluster import cli
from featurestore import FeatureStore
from featurestore.care.verify import verify

StudyFile = Callable[[int], Path]
Streams = Callable[..., tuple[int, bytes]]
WORDS = "select 'é→' as x"


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Streams:
    """Run `probestore sql` with a standard output of its own: (exit code, what it got)."""

    def call(
        *arguments: str, encoding: str = "ascii", sink: io.RawIOBase | io.BytesIO | None = None
    ) -> tuple[int, bytes]:
        got = sink or io.BytesIO()
        stream = io.TextIOWrapper(got, encoding=encoding)  # type: ignore[type-var]
        monkeypatch.setattr(sys, "argv", ["probestore", "sql", *arguments, "--store", str(empty_store)])
        monkeypatch.setattr(sys, "stdout", stream)
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        if sys.stdout is not stream:
            sys.stdout.close()
        written = got.getvalue() if isinstance(got, io.BytesIO) else b""
        with suppress(OSError):
            stream.close()
        return code, written

    return call


@pytest.mark.parametrize(("encoding", "written"), [("ascii", b"\\xe9\\u2192"), ("latin-1", b"\xe9\\u2192")])
def test_a_table_writes_out_what_an_encoding_lacks(ask: Streams, encoding: str, written: bytes) -> None:
    code, got = ask(WORDS, encoding=encoding)
    assert code == 0
    assert written in got


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_csv_and_json_are_utf_8_whatever_the_terminal_is(ask: Streams, encoding: str) -> None:
    assert ask(WORDS, "--format", "csv", encoding=encoding) == (0, "x\né→\n".encode())
    assert json.loads(ask(WORDS, "--format", "json", encoding=encoding)[1].decode()) == [{"x": "é→"}]


def test_text_of_an_ascii_locale_is_the_utf_8_that_was_typed(ask: Streams) -> None:
    as_decoded = WORDS.encode().decode("ascii", "surrogateescape")
    assert ask(as_decoded, "--format", "csv")[1] == "x\né→\n".encode()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "csv", "parquet"])
@pytest.mark.parametrize("rows", [1, 20_000])
def test_a_pipe_that_closes_is_no_error(ask: Streams, form: str, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor
        code, _ = ask(f"from range({rows})", "--format", form, sink=pipe)
    assert code == 0
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_a_message(ask: Streams, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        code, _ = ask("select 1", sink=full)
    said = capsys.readouterr().err
    assert (code, said.split(". ")[0]) == (
        2,
        "Error: The answer could not be written to standard output: No space left on device",
    )


def test_streams_that_were_closed_are_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["probestore", "list", "metrics"])
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    cli.main()
    sys.stdout.close()
    sys.stderr.close()


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """What a shell makes of a line, in which `$P` is the command."""
    command = shlex.join([sys.executable, "-m", "cluster.cli"])
    return subprocess.run(["sh", "-c", line.replace("$P", command)], cwd=folder, capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_a_run_goes_to_its_end_whatever_becomes_of_its_streams(
    study_file: StudyFile, tmp_path: Path, where: str
) -> None:
    """Closed ones get no file of the store in their place."""
    done = shell(f"$P run {study_file(1)} --local --store store {where}", tmp_path)
    assert done.returncode == 0
    store = FeatureStore.open(str(tmp_path / "store"))
    assert len(store.names("results")) == 1
    assert verify(store).findings == []


@pytest.mark.slow
def test_a_run_goes_to_its_end_without_its_events_and_the_exit_code_says_so(
    study_file: StudyFile, tmp_path: Path
) -> None:
    done = shell(f"$P run {study_file(1)} --local --store store --events /dev/full", tmp_path)
    said = done.stderr.decode()
    assert (done.returncode, said.count("No more events are written to /dev/full")) == (2, 1)
    assert "Error: Not all events could be written to /dev/full: No space left on device" in said
    assert len(FeatureStore.open(str(tmp_path / "store")).names("results")) == 1
