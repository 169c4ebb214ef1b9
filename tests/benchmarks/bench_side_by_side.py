"""What is gained when features and probes are computed side by side instead of one after the other.

    python tests/benchmarks/bench_side_by_side.py --former OTHER_CHECKOUT

A machine with one accelerator and one idle core is emulated on local Ray: one worker for features, one for probes, of
one CPU each (they ask for different amounts of memory, so that they share no worker). The network sleeps `--seconds`
for every image, as a worker does that waits for its accelerator; the probe is an MLP of one hidden layer that is
trained for `--epochs` epochs, on the CPU. Choose the two so that both take about equally long, as the table shows. The
study has one network on `--datasets` datasets of `--images` images.

The same study file is run by this checkout and by OTHER_CHECKOUT, which is an earlier version that extracts everything
and then probes, in turns, `--repeats` times, each time in a new process, with a new store and a new Ray. The figures
come from ``--events``. Everything is measured from the beginning of the first shard, so without the start of Ray and
of the first worker:

- `features`, `probes`: seconds that the workers took for all shards, and for all cells;
- `all`: seconds to the end of the run. Where probes begin after the last shard, the start of their worker is in it;
- `at once`: (features + probes) / all. At most 1 where they come one after the other, and 2 where nobody ever waits. It
  depends little on what else a machine does, which makes all three longer.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from tiny import save_images

NETWORK = '''
import time

import torch


class Accelerated(torch.nn.Module):
    """Eight random filters, pooled to 2 x 2: 32 features. It sleeps as long as an accelerator would work."""

    def __init__(self):
        super().__init__()
        self.filters = torch.nn.Conv2d(3, 8, 5, stride=2)
        self.pool = torch.nn.AdaptiveAvgPool2d(2)

    def forward(self, images):
        time.sleep(SECONDS * len(images))
        return self.pool(self.filters(images).relu()).flatten(1)


def build():
    return Accelerated()
'''
CLUSTER = """
[cluster]
extract = { cpus = 1, max_workers = 1, memory_gb = 1.0 }
probe = { cpus = 1, max_workers = 1, memory_gb = 1.1 }
"""


@dataclass(frozen=True)
class Times:
    """Seconds of the workers of a run, and of the run from the beginning of its first shard."""

    features: float
    probes: float
    all: float

    @property
    def at_once(self) -> float:
        """How many workers work, in the mean."""
        return (self.features + self.probes) / self.all

    @classmethod
    def of(cls, events: Sequence[dict[str, Any]]) -> Times:
        """Read them from the events of a run."""
        shards, cells = ([event for event in events if event["event"] == name] for name in ("shard_done", "cell_done"))
        (ended,) = [event for event in events if event["event"] == "run_ended"]
        assert not ended["failures"], ended
        first = _time(shards[0]) - shards[0]["seconds"]
        return cls(
            features=sum(shard["seconds"] for shard in shards),
            probes=sum(cell["seconds"] for cell in cells),
            all=_time(ended) - first,
        )


def _time(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def write_study(folder: Path, options: argparse.Namespace) -> Path:
    """A slow network, images, and a probe that takes its time."""
    (folder / "accelerated_network.py").write_text(NETWORK.replace("SECONDS", str(options.seconds)))
    for number in range(options.datasets):
        save_images(
            folder / f"images_{number}", {"cats": options.images // 2, "dogs": options.images // 2}, seed=number
        )
    model = (
        '[[model]]\nname = "net"\nbackbone = "python:accelerated_network:build"\nweights = "none"\ninput_size = 16\n'
    )
    datasets = "".join(
        f'[[dataset]]\nname = "data_{number}"\nsource = "image_folder:images_{number}"\nshard_images = 10\n'
        for number in range(options.datasets)
    )
    mlp = f"[probe.mlp]\nwidth = 1024\nmax_epochs = {options.epochs}\npatience = {options.epochs}\n"
    (folder / "study.toml").write_text(f'{model}{datasets}[probe]\nprobes = ["mlp"]\n{mlp}{CLUSTER}')
    return folder / "study.toml"


def run(checkout: Path, study: Path, name: str) -> Times:
    """Run the study with the code of a checkout, in a new store."""
    events = study.with_name(f"{name}.jsonl")
    command = ["-m", "cluster.cli", "run", study, "--store", study.with_name(name), "--events", events]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run([sys.executable, *command], env=environment, cwd=study.parent, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return Times.of([json.loads(line) for line in events.read_text().splitlines()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--former", type=Path, required=True, help="folder of a checkout of an earlier version")
    parser.add_argument("--datasets", type=int, default=8)
    parser.add_argument("--images", type=int, default=60, help="of a dataset")
    parser.add_argument("--seconds", type=float, default=0.06, help="of the network, for an image")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    present, former = Path(__file__).parents[2], options.former.resolve()
    times: dict[str, list[Times]] = {"former": [], "present": []}
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder), options)
        print(f"1 model x {options.datasets} datasets of {options.images} images", CLUSTER.strip(), sep="\n")
        print(f"{'':<10}{'features':>10}{'probes':>10}{'all':>10}{'at once':>9}{'load':>8}")
        for number in range(options.repeats):
            for side, checkout in (("former", former), ("present", present)):
                own = run(checkout, study, f"{side}-{number}")
                times[side].append(own)
                seconds = f"{own.features:>8.1f} s{own.probes:>8.1f} s{own.all:>8.1f} s"
                print(f"{side:<10}{seconds}{own.at_once:>9.2f}{os.getloadavg()[0]:>8.1f}", flush=True)
    report(times)


def report(times: dict[str, list[Times]]) -> None:
    """Medians, and medians of the ratios of pairs."""
    pairs = list(zip(times["former"], times["present"], strict=True))
    former, present = (median(own.all for own in times[side]) for side in ("former", "present"))
    ratio = median(one.all / other.all for one, other in pairs)
    print(f"median of all: {former:.1f} s one after the other, {present:.1f} s side by side; {ratio:.2f} times as fast")
    at_once = [median(own.at_once for own in times[side]) for side in ("former", "present")]
    print(f"median at once: {at_once[0]:.2f} and {at_once[1]:.2f}, so {at_once[1] / at_once[0]:.2f} times as fast")


if __name__ == "__main__":
    main()
