"""Makes tests/data/store_v1/, the golden store: what this version writes must open for ever.

    python tests/data/make_store_v1.py FOLDER

runs a small study (two random networks of tests/tiny.py on forty images, one of them unreadable) with the `probestore`
command of this environment and leaves the store in FOLDER. The store in the repository was made once and is never made
again: a change that cannot read it is a new format, whose store then stands beside it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from tiny import TINY_NETWORK, save_images

STUDY = """
name = "golden"

[extract]
taps = ["penultimate", "block:0"]

[probe]
probes = ["logistic", "ncm"]

[probe.logistic]
l2s = [0.001, 0.1, 10.0]

[[model]]
name = "tiny_0"
backbone = "python:tiny_network:build"
weights = "none"
input_size = 16
seed = 0
imagenet_top1 = 0.5

[[model]]
name = "tiny_1"
backbone = "python:tiny_network:build"
weights = "none"
input_size = 16
seed = 1
imagenet_top1 = 0.6

[[dataset]]
name = "pets"
source = "image_folder:images"
shard_images = 16
"""


def make(place: Path) -> None:
    """Run the study in a folder of its own and leave its store at `place`."""
    folder = Path(tempfile.gettempdir()) / "probestore-golden"  # the store names it as the images' place
    folder.mkdir()
    try:
        images = save_images(folder / "images", {"cats": 20, "dogs": 20})
        for number in range(5):  # so that no model is right about all of them
            name = f"{number:03d}.png"
            (images / "cats" / name).rename(images / "cats" / f"dog{number}.png")
            (images / "dogs" / name).rename(images / "cats" / name)
            (images / "cats" / f"dog{number}.png").rename(images / "dogs" / name)
        (images / "cats" / "000.png").write_bytes(b"not an image")
        (folder / "tiny_network.py").write_text(TINY_NETWORK)
        (folder / "study.toml").write_text(STUDY)
        command = [Path(sys.executable).parent / "probestore", "run", "study.toml", "--store", place.absolute()]
        subprocess.run(command, cwd=folder, check=True)
        (place / "_staging").rmdir()  # empty
    finally:
        shutil.rmtree(folder)


def digest(store: Path) -> str:
    """SHA-256 over the names and bytes of all files, in order."""
    names = sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
    return hashlib.sha256(
        b"".join(name.encode() + b"\0" + hashlib.sha256((store / name).read_bytes()).digest() for name in names)
    ).hexdigest()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make(target)
    print(digest(target))  # noqa: T201 - for test_golden_store.py
