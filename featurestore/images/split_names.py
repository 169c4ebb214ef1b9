"""The names that people give to splits."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError, did_you_mean
from featurestore.store.schema import SPLITS

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


def usual_name(name: str) -> str:
    """Return the split that a name stands for, or the name itself if it stands for none that is known."""
    return split_of(name) or name


def assigned(names: Collection[str], spec: DatasetSpec) -> dict[str, str]:
    """Return which of the splits of a source stand for ``train``, ``val`` and ``test``; what is not in it is not used.

    Parameters
    ----------
    names : collection of str
        Splits of the source, as it calls them.
    spec : DatasetSpec
        Record whose `splits` decide; without them, the names do.

    Returns
    -------
    dict of str to str
        Split of the source -> ``train``, ``val`` or ``test``; what is made of several takes them in this order.

    Raises
    ------
    DatasetError
        If two names stand for one split and the record does not say that, or the record names what is not there.
    """
    if spec.splits is None:
        return _by_name(names, spec)
    wanted = {name: split for split in SPLITS for name in spec.splits.get(split, ())}
    for name in wanted:
        if name not in names:
            raise DatasetError(
                f"Dataset {spec.name!r}: `splits` must name splits of the source. Got {name!r}; the source has "
                f"{', '.join(map(repr, names)) or 'none'}.{did_you_mean(name, names)}"
            )
    return wanted


def _by_name(names: Collection[str], spec: DatasetSpec) -> dict[str, str]:
    found = {name: split for name in names if (split := split_of(name))}
    own = {split: tuple(name for name in found if found[name] == split) for split in SPLITS}
    for split, same in own.items():
        if len(same) > 1:
            every = {"train": own["train"] or ("...",), **{other: names for other, names in own.items() if names}}
            raise DatasetError(
                f"Dataset {spec.name!r} must have one source of its {split} images. It has {' and '.join(same)} for "
                f"{split}; merge them, or say which count, such as `splits = {as_toml(every)}`."
            )
    return found


def as_toml(splits: Mapping[str, tuple[str, ...]]) -> str:
    """Return a map of splits as a study file has it.

    Examples
    --------
    >>> print(as_toml({"train": ("train", "extra"), "test": ("dev",)}))
    {train = ["train", "extra"], test = ["dev"]}
    """
    texts = {split: ", ".join(map(_toml_text, names)) for split, names in splits.items()}
    return "{" + ", ".join(f"{split} = [{text}]" for split, text in texts.items()) + "}"


def _toml_text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
