"""Requests to an object store grow with cells no faster than a line. The whole of it: bench_growth.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from growth import counting_s3, finished_store, measured, put_in_bucket

pytestmark = pytest.mark.timeout(1200)  # a dozen processes make and measure two stores

SMALL, LARGE = (34, 2), (36, 4)  # models x datasets: more models than a table keeps as files

LINES = {
    "run": (230, 0.1),
    "plan": (120, 0.1),
    "sql": (75, 0.1),
    "gc": (60, 0.3),
    "verify": (250, 15),
}
"""Command -> the most requests: a number, and as many more for each cell."""


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], int]:
    """(command, cells) -> requests of a command on a finished study."""
    found = {}
    with counting_s3() as (proxy, variables):
        for models, datasets in (SMALL, LARGE):
            folder = tmp_path_factory.mktemp("growth")
            study, cells = finished_store(folder, models=models, datasets=datasets, images=24, shard_images=8)
            uri = put_in_bucket(folder / "store")
            for name, command in commands(study, uri).items():
                measured(command, cache=folder / "cache", variables=variables)  # what a node keeps is there
                before = len(proxy.requests)
                measured(command, cache=folder / "cache", variables=variables)
                found[name, cells] = len(proxy.requests) - before
    return found


def commands(study: Path, uri: str) -> dict[str, list[str]]:
    there = ["--store", uri]
    return {
        "run": ["run", str(study), *there],
        "plan": ["plan", str(study), *there],
        "sql": ["sql", "select count(*) from results", *there],
        "gc": ["gc", *there],
        "verify": ["verify", *there],
    }


@pytest.mark.parametrize("command", LINES)
def test_requests_of_a_command_on_a_finished_study_stay_below_a_line_in_cells(
    requests: dict[tuple[str, int], int], command: str
) -> None:
    constant, each = LINES[command]
    counted = {cells: count for (name, cells), count in requests.items() if name == command}
    assert len(counted) == 2
    assert all(count <= constant + each * cells for cells, count in counted.items()), counted
