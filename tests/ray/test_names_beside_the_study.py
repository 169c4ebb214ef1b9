"""Files of the user with names of ours hide nothing from the driver, nor from Ray's workers."""

from __future__ import annotations

import os
import subprocess
import sys

from locations import ROOT


def test_a_study_beside_files_with_our_names_and_those_of_python_runs(study_file, tmp_path):
    study_file(1)
    for name in ("queries", "probes", "cluster", "featurestore", "random", "select", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a script of the user')\n")
    # As the installed command does: the folder of the study is the current one, and not on Python's path.
    command = [sys.executable, "-P", "-m", "cluster.cli", "run", "study.toml", "--store", "a_store"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
