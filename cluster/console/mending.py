"""What `probestore verify --mend` says: what was removed and why, and the commands that make it anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.console.terminal import say
from featurestore.plain_text import counted, shortly

if TYPE_CHECKING:
    from featurestore import FeatureStore
    from featurestore.care.mend import Mended
    from featurestore.care.verify import Verified


def mend_and_say(store: FeatureStore, verified: Verified, asking: Sequence[str]) -> int:
    """Mend a store, say what was done and what to run next, and return the exit code."""
    from featurestore.care.mend import mend

    if verified.mendable:
        _say(mend(store, verified, asking=asking))
    left = [finding for finding in verified.findings if finding.severity == "error" and not finding.mendable]
    if left:
        say(f"{counted(len(left), 'error')} cannot be mended here: see the column advice.")
    n_unread = sum(finding.severity == "unread" for finding in verified.findings)
    return 1 if left else 3 if n_unread else 0


def exit_code(verified: Verified) -> int:
    """Return the exit code of a check: 1 for an error, 3 if a file could not be read."""
    severities = {finding.severity for finding in verified.findings}
    return 1 if "error" in severities else 3 if "unread" in severities else 0


def _say(mended: Mended) -> None:
    groups = Counter((file.split("/")[0], why) for file, why in mended.removed.items())
    for (table, why), number in groups.items():
        say(f"Removed {counted(number, 'file')} of {table}: {why}.")
    if mended.rewritten:
        say(f"Wrote again: {shortly(mended.rewritten, 3)}.")
    for note in mended.remaking.notes:
        say(note)
    if mended.remaking.commands:
        say("Run next:")
        for command in mended.remaking.commands:
            say(f"  {command}")
