"""What `verify --mend` prints, and nothing else, brings back what a damaged store said."""

import shlex
import sys
from pathlib import Path

import pytest
from answers import read_everything

from cluster.cli import main
from featurestore import FeatureStore, SplitSets
from featurestore.care.verify import verify
from featurestore.store import layout

pytestmark = pytest.mark.slow

PROBES = '[probe]\nprobes = ["ncm", "ridge"]\n[probe.ridge]\nl2s = [0.1, 1.0]\n'


def zeros(path: Path) -> None:
    """What a power cut leaves."""
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))


def damage(root: Path) -> None:
    """Do something to a file of every kind that a small study makes."""
    for folder, file in (("features", "part-00000-*.parquet"), ("samples", layout.MANIFEST)):
        zeros(next(path for path in sorted(root.glob(f"{folder}/**/{file}")) if "split=train" in str(path)))
    next(path for path in root.glob("features/**/manifest.json") if "split=val" in str(path)).unlink()
    for table in ("results", "tuning", "models", "representations"):
        zeros(min(root.glob(f"{table}/*.parquet")))
    for table in ("predictions", "neighbours"):
        max(root.glob(f"{table}/*.parquet")).unlink()
    for path in (root / layout.STORE_FILE, root / layout.study_path("study"), root / layout.empty_path("results")):
        path.unlink()


def test_a_store_that_is_damaged_in_many_places_is_mended_by_what_is_printed(study_file, tmp_path, monkeypatch, capsys):
    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["probestore", *words])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    monkeypatch.setenv("PROBESTORE_CACHE_GB", "0")
    uri = str(tmp_path / "a store")
    call("run", str(study_file(2, more=PROBES)), "--local", "--store", uri)
    call("analyse", "--local", "--store", uri)
    store = FeatureStore.open(uri)
    names = SplitSets.__dataclass_fields__
    pairs = [SplitSets(**{name: row[name] for name in names}) for row in store.read_records("cells")]
    before = read_everything(uri, pairs)
    assert not [answer for answer in before.values() if isinstance(answer, Exception)]
    damage(Path(uri))
    printed = call("verify", "--mend", "--store", uri)
    commands = [shlex.split(line) for line in printed.partition("Run next:\n")[2].splitlines()]
    assert [words[:2] for words in commands] == [["probestore", "run"], ["probestore", "analyse"]]
    for words in commands:
        call(*words[1:], "--local")
    assert read_everything(uri, pairs) == before
    assert verify(FeatureStore.open(uri)).findings == []
