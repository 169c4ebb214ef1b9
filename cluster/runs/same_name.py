"""Two studies of one name in one store: the second takes the place of the first only where somebody says so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from featurestore import FeatureStore
from featurestore.errors import ConfigurationError
from featurestore.plain_text import counted, shortly
from featurestore.store.wishes import is_command, without

_SEEN = ["model", "dataset", "tap", "probe", "solver", "n_per_class", "seed"]
"""Columns of `cells` that a study file states."""


def is_of_another(former: pa.Table, file: str | None) -> bool:
    """Return whether a study was run from another file before than this one.

    Parameters
    ----------
    former : Table
        Rows of `cells` of the study; those of earlier versions name no file, which is then none of another.
    file : str, optional
        As `Study.file` has it.
    """
    ran = file_of(former)
    return ran is not None and not _is_same(ran, file)


def file_of(wishes: pa.Table) -> str | None:
    """Return the file or the command from which a study was run last; None if its rows of `cells` do not say so."""
    files: list[str | None] = wishes.sort_by("wanted_at")["study_file"].to_pylist()
    return files[-1] if files else None


def check_same(name: str, file: str | None, store: FeatureStore, *, former: pa.Table, wishes: pa.Table) -> None:
    """Check that a study does not take the place of another one.

    Parameters
    ----------
    name : str
        Name of the study.
    file : str, optional
        As `Study.file` has it.
    store : FeatureStore
    former, wishes : Table
        Rows of `cells` of the study: those that the store has, and those that it would have.

    Raises
    ------
    ConfigurationError
        If another file was run under its name, and wanted other cells.
    """
    same = former.num_rows - without(former, wishes).num_rows
    n, m = former.num_rows, wishes.num_rows
    if is_of_another(former, file) and not same == n == m:
        raise ConfigurationError(
            f"A store knows a study by its name, but {name!r} is the name of two: {file_of(former)} was run in "
            f"{store.uri} and wants {counted(n, 'cell')}, and {_named(file)} wants {counted(m, 'cell')}, "
            f"{same or 'none'} of them the same.{_why(former, wishes)} Nothing was computed. {_ways_out(name, file)}"
        )


def left_behind(name: str, *, former: pa.Table, wishes: pa.Table) -> list[str]:
    """Return a sentence about the cells that a study wanted and wants no more, if there are any.

    Parameters
    ----------
    name : str
        Name of the study.
    former, wishes : Table
        As for `check_same`.
    """
    gone = without(former, wishes)
    if not gone.num_rows:
        return []
    of_all = f"{gone.num_rows:,} of the {counted(former.num_rows, 'cell')}"
    whose = f" ({file_of(former)})" if file_of(former) else ""
    verb = "is" if gone.num_rows == 1 else "are"
    return [
        f"{of_all} that the study {name!r} wanted before{whose} {verb} wanted no more: {_places(gone)}. "
        "`probestore gc` lists what nothing else needs."
    ]


def _is_same(former: str, now: str | None) -> bool:
    """Return whether two files or commands are the same. A link in another folder may lead to other images."""
    if now is None or former == now:
        return former == now
    if is_command(former) or is_command(now):
        return former.split()[:2] == now.split()[:2]
    try:
        return Path(former).samefile(now) and Path(former).parent.samefile(Path(now).parent)
    except (OSError, ValueError):  # it is gone, or on another machine
        return False


def _named(file: str | None) -> str:
    return file or "the study that was given on standard input"


def _why(former: pa.Table, wishes: pa.Table) -> str:
    """Say what is different where nothing seems to be."""
    ours, theirs = ({tuple(row.values()) for row in rows.select(_SEEN).to_pylist()} for rows in (former, wishes))
    if ours != theirs:
        return ""
    return (
        " Both name the same models, datasets and probes, but their images (whose times of change count), weights, "
        "preprocessing or options differ."
    )


def _ways_out(name: str, file: str | None) -> str:
    if file and is_command(file):
        return "To keep both, choose another store: --store."
    return (
        f'To keep both, give this one a name of its own, at the top of its file: name = "{name}-2". To let it take the '
        "place of the other, add --replace."
    )


def _places(gone: pa.Table) -> str:
    """Return how many cells there are of each probe, model and dataset, in words, the most first."""
    columns = (gone[name].to_pylist() for name in ("probe", "model", "dataset"))
    counts = Counter(zip(*columns, strict=True)).most_common()
    return shortly([f"{count:,} of {probe} for {model} on {dataset}" for (probe, model, dataset), count in counts])
