"""Damage to every kind of file of a store and of a node's cache: does a number change, and does the advice help?

    python tests/fuzz/damage.py --per-kind 500 --seed 0 --out tests/fuzz/damage_results.json

A trial damages one file of a small store that is whole, reads all features, asks questions of SQL, does what errors
advise, and reads and asks again; `tests/support/damage_trials.py` says what its verdicts mean. A trial is drawn from
seed, kind and number alone. FILE keeps the verdicts, so that a run that was stopped goes on; one of other code, seed or
versions is begun anew. The exit code is 1 if a trial ended in a fault.
"""

# ruff: noqa: T201 - a script that prints a table

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PROBESTORE_FSYNC="0")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from damage_record import Record
from damage_trials import SOUND, Trials
from damages import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-kind", type=int, default=500, help="trials of each kind of file")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; can be repeated")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only the trial of this number; say all of it")
    parser.add_argument("--unmended", action="store_true", help="do not do what errors advise: three times as fast")
    parser.add_argument("--unchecked", action="store_true", help="with the checks switched off: say how many are wrong")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="verdicts, which are gone on with")
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder))
        if options.only is not None:
            return max(say_all(trials, kind, options.only, options.seed) for kind in kinds)
        if options.unchecked:
            return say_unchecked(trials, kinds, options.per_kind, options.seed)
        record = Record.of(options.out, options.seed)
        for number in range(options.per_kind):
            missing = [kind for kind in kinds if number >= record.done.get(kind, 0)]
            try_each(trials, record, missing, number, mend=not options.unmended)
    print(record.table())
    return 1 if record.faults else 0


def try_each(trials: Trials, record: Record, kinds: list[str], number: int, *, mend: bool) -> None:
    """Run the trials of a number, and note how they ended."""
    for kind in kinds:
        damage = trials.damage(kind, number, record.seed)
        record.note(kind, number, damage, trials.run(kind, damage, mend=mend))
    if kinds:
        record.save()
        print(f"{number + 1:,} of each kind, {len(record.faults)} faults", file=sys.stderr, flush=True)


def say_all(trials: Trials, kind: str, number: int, seed: int) -> int:
    """Run a trial, print all that is known of it, and return whether it ended in a fault."""
    damage = trials.damage(kind, number, seed)
    verdict = trials.run(kind, damage)
    print(f"{kind} {number}: {damage}\n{verdict.name}\n{verdict.why}")
    return int(verdict.name not in SOUND)


def say_unchecked(trials: Trials, kinds: list[str], per_kind: int, seed: int) -> int:
    """Print how many of the same damages change a number where nothing is checked."""
    for kind in kinds:
        found = [trials.is_wrong_unchecked(kind, trials.damage(kind, n, seed)) for n in range(per_kind)]
        print(f"{kind}: {sum(found)} of {per_kind} give wrong numbers unchecked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
