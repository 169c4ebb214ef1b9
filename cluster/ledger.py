"""What a run wants, does and fails at: as its summary, and as rows of the `cells` and `failures` tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from cluster.progress import Reporter
from featurestore import FeatureStore
from featurestore.errors import Failure
from featurestore.store import rows_table
from probes.results import Cell


@dataclass(frozen=True)
class FailedWork:
    """A row of the failure table."""

    stage: str
    model: str | None
    dataset: str | None
    cell: str | None
    failure: Failure
    failed_at: datetime

    def row(self, study: str) -> dict[str, Any]:
        """As a row of the `failures` table."""
        place = {"study": study, "stage": self.stage, "model": self.model, "dataset": self.dataset, "cell": self.cell}
        return {**place, **asdict(self.failure), "failed_at": self.failed_at}


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    passes : int
        Images x models that went through a network.
    cells : int
        Cells that were fitted.
    cells_wanted : int
        Cells that are asked for, computed now or before.
    """

    passes: int = 0
    cells: int = 0
    cells_wanted: int = 0
    unreadable: int = 0
    failures: list[FailedWork] = field(default_factory=list)


class Ledger:
    """The books of one run of a study.

    What failed in its last run is forgotten: it is tried again now.

    Parameters
    ----------
    study : str
        Name under which its cells and failures are kept.
    store : FeatureStore
    reporter : Reporter
    """

    def __init__(self, study: str, store: FeatureStore, reporter: Reporter) -> None:
        self.summary = Summary()
        self._study = study
        self._store = store
        self._reporter = reporter
        self._publish_failures()

    def want(self, cells: Sequence[Cell]) -> None:
        """Say what is wanted before it is there, so that `coverage` can tell what is missing."""
        now = datetime.now(UTC)
        rows = [cell.wanted_row(self._study, now) for cell in cells]
        self._store.publish("cells", self._study, rows_table("cells", rows))
        self.summary.cells_wanted = len(rows)

    def fail(
        self,
        stage: str,
        error: BaseException | Failure,
        *,
        model: str | None = None,
        dataset: str | None = None,
        cell: str | None = None,
    ) -> None:
        """Record a piece of work that failed; None for a model or dataset means every one."""
        failure = error if isinstance(error, Failure) else Failure.of(error)
        self.summary.failures.append(FailedWork(stage, model, dataset, cell, failure, datetime.now(UTC)))
        self._publish_failures()
        what = " on ".join(name for name in (model, dataset) if name)
        self._reporter.failed(f"{what}: {failure.message}")

    def _publish_failures(self) -> None:
        """One file per study: what failed in its last run."""
        rows = [work.row(self._study) for work in self.summary.failures]
        self._store.publish("failures", self._study, rows_table("failures", rows))
