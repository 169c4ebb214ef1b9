"""The smallest study file, and where it might lie."""

from pathlib import Path

MINIMAL = 'models = ["mobilenet_v2"]\ndatasets = ["digits"]\n'
PATH = Path("/data/studies/pets.toml")
