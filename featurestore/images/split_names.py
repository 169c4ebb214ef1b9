"""The names that people give to splits."""

from __future__ import annotations

_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing"),
}
_SPLIT_OF_NAME = {name: split for split, names in _SPLITS.items() for name in names}


def split_of(name: str) -> str | None:
    """Return the split that a name stands for, whatever its case; None if it names no split that is known.

    Names such as ``eval``, ``extra`` or ``holdout`` mean different things to different people, so that they are not
    known: whoever meets one says so and uses nothing of it, unless the dataset's record maps it (`DatasetSpec.splits`).
    """
    return _SPLIT_OF_NAME.get(name.lower())
