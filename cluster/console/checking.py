"""A check of a store on the terminal: how far it is, and what it did not read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from cluster.console.terminal import say
from featurestore.plain_text import counted

if TYPE_CHECKING:
    from featurestore import FeatureStore
    from featurestore.care.looks import Looks
    from featurestore.care.verify import Verified

_LINE_EVERY_SECONDS = 60.0  # where no terminal shows a bar


def check_with_progress(
    store: FeatureStore, asking: Sequence[str], *, share: float, seed: int, report: Path | None
) -> tuple[Verified, Looks]:
    """Verify a store, and show how far that is.

    Parameters
    ----------
    asking : sequence of str
        As for `featurestore.care.verify.verify`.
    share, seed
        As for `featurestore.care.looks.Looks`.
    report : Path, optional
        File of notes; see `featurestore.care.looks.open_notes`.

    Raises
    ------
    ConfigurationError
        If the report cannot be used.
    StoreError
        If the store cannot be listed.
    """
    from featurestore.care.looks import Looks, open_notes
    from featurestore.care.verify import verify

    with ExitStack() as stack:
        notes = stack.enter_context(open_notes(report, store.uri)) if report else None
        looks = Looks(share=share, seed=seed, notes=notes, progress=stack.enter_context(_progress()))
        verified = verify(store, asking=asking, looks=looks)
        if notes and not any(finding.severity == "unread" for finding in verified.findings):
            notes.end()
    return verified, looks


def looks_in_words(looks: Looks, report: Path | None) -> str:
    """Say which files were not read now; nothing if all were."""
    said = ""
    if looks.share < 1:
        n_files = looks.n_read + looks.n_left_out
        said = (
            f"This was a sample: the content of {looks.n_read:,} of {counted(n_files, 'file')} was read "
            f"(--sample {looks.share:g}, --seed {looks.seed}); damage in the others is not known."
        )
    if looks.notes and looks.n_known:
        begun = f"{looks.notes.begun.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        said = (
            f"Of these, {counted(looks.n_known, 'file')} had been read since {begun}, as {report} says, and were not "
            "read again."
        )
    return said


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = ("Checked", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines() -> Callable[[int, int], None]:
    said = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > _LINE_EVERY_SECONDS:
            said = time.monotonic()
            say(f"Checked {done / 1e6:,.1f} of {total / 1e6:,.1f} MB.")

    return tell
