"""What commands say on standard error."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.console.terminal import say, say_summary
from cluster.work.ledger import FailedWork, Summary
from featurestore import FeatureStore
from featurestore.errors import Failure

HOSTILE = "\x1b[31m\x9b2J"
SHOWN = r"\x1b[31m\x9b2J"


def test_a_sentence_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"There is no model {HOSTILE}.")
    assert capsys.readouterr().err == f"There is no model {SHOWN}.\n"


def test_the_table_of_failures_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = FailedWork("extract", "net", None, "pets", None, Failure("E", HOSTILE), datetime.now(UTC))
    say_summary(Summary(failures=[work]), FeatureStore.create(str(tmp_path / "store")))
    assert SHOWN in capsys.readouterr().err
