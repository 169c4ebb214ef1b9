"""Which folders of a folder of images are splits, and which are classes: what they hold decides, not only the name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featurestore.catalogue.datasets import DatasetSpec
from featurestore.errors import DatasetError
from featurestore.images.dataset_files import printable
from featurestore.images.folder_tree import FolderTree, joined
from featurestore.images.split_names import as_toml, assigned, split_of
from featurestore.plain_text import counted, shortly
from featurestore.store.schema import SPLITS

THE_ROOT = "."
"""Name that `DatasetSpec.splits` gives the root, where the folders in it are classes whatever they are called."""
_PICTURES = {"image", "images", "img", "imgs", "jpegimages"}
_MASKS = {"mask", "masks", "annotation", "annotations", "label", "labels", "segmentation", "segmentations", "gt"}
_MASKS |= {"ground_truth", "groundtruth", "segmentation_masks", "bboxes", "heatmaps", "depth", "segmentationclass"}
_SPLIT_WORDS = ("train", "test", "val", "valid")


@dataclass(frozen=True)
class SplitFolder:
    """A folder that holds a split.

    Attributes
    ----------
    name : str
        Name of the split.
    path : str
        Path of the folder inside the root, which is an empty text.
    classes : tuple of str
        Names of the folders in it that hold images, sorted; none where the images have no labels.
    """

    name: str
    path: str
    classes: tuple[str, ...]


def split_folders(tree: FolderTree, spec: DatasetSpec) -> list[SplitFolder]:
    """Find the splits of a folder and their classes.

    Folders in the root are splits if one that is called so holds folders of images; a folder that is called ``train``
    and holds images alone is a class of that name. `DatasetSpec.splits` decides where it names folders of the root.
    All images in folders below a class folder belong to the class.

    Raises
    ------
    DatasetError
        If there are no class folders, or several readings would be possible.
    """
    if _is_split_layout(tree, spec):
        names = tree.folders("")
        found = [SplitFolder(name, name, tuple(tree.folders(name))) for name in names]
    else:
        name = THE_ROOT if _names_root(spec) else "train"
        found = [SplitFolder(name, "", tuple(tree.folders("")))]
        if not _names_root(spec):
            _refuse_doubtful_classes(tree, spec)
            _refuse_splits_in_names(tree, spec)
    if not any(split.classes for split in found):
        raise DatasetError(_no_classes(tree, spec))
    use = assigned([split.name for split in found], spec)
    used = [split for split in found if split.name in use]
    _refuse_wrapped_classes(tree, used, spec)
    for split in used:
        _refuse_splits_below_classes(tree, split, spec)
        _refuse_classes_below_classes(tree, split, spec)
    return found


def twice_the_same(tree: FolderTree, splits: Sequence[SplitFolder]) -> str | None:
    """Say where all class folders hold the same folders and nothing else, which may be the classes; else None."""
    (split, *others) = splits
    if others or split.path or len(split.classes) < 2:
        return None
    below = [tuple(tree.folders(name)) for name in split.classes]
    if len(below[0]) < 2 or len(set(below)) > 1 or any(tree.images[name] for name in split.classes):
        return None
    return (
        f"The folders {_names(split.classes)} are taken for classes, and all of them hold the folders "
        f"{_names(below[0])}. If these are the classes, `splits` says what the others are, such as "
        f"`splits = {as_toml({'train': split.classes})}`"
    )


def _is_split_layout(tree: FolderTree, spec: DatasetSpec) -> bool:
    names = tree.folders("")
    if spec.splits is not None:
        given = {name for own in spec.splits.values() for name in own}
        if THE_ROOT in given or given & set(names):
            return THE_ROOT not in given
    known = [name for name in names if split_of(name)]
    with_classes = [name for name in known if tree.folders(name)]
    others = [name for name in names if name not in known]
    if not with_classes:
        return False
    alone = len({split_of(name) for name in known}) == 1 and len(others) > 1
    mixed = bool(others) and all(tree.images[name] for name in with_classes)
    if alone or mixed:
        one, many = ("a split", "a class") if len(known) == 1 else ("splits", "classes")
        raise DatasetError(
            f"Dataset {spec.name!r}: {_names(known)} may be {one} or {many} beside {_names(others)}. Say which: "
            f"`splits = {as_toml(_usual(known))}` makes {_names(known)} {one}, and "
            f"`splits = {as_toml({'train': (THE_ROOT,)})}` makes all folders classes."
        )
    return True


def _names_root(spec: DatasetSpec) -> bool:
    return spec.splits is not None and any(THE_ROOT in own for own in spec.splits.values())


def _refuse_doubtful_classes(tree: FolderTree, spec: DatasetSpec) -> None:
    """Refuse folders that look like splits and would be taken for classes."""
    names = tree.folders("")
    like = {name: split for name in names if (split := _looks_like(name))}
    holding_folders = {like[name] for name in like if tree.folders(name) and not tree.images[name]}
    if not len(like) == len(names) > 0 and len(holding_folders) < 2:
        return
    remedy = f"call them train, val and test, or say `splits = {as_toml(_usual(list(like)))}`"
    if not any(map(tree.folders, names)):
        remedy = "put their images into class folders, without which they have no labels"
    raise DatasetError(
        f"Dataset {spec.name!r}: the folders {_names(list(like))} look like splits. If they are, {remedy}; if they are "
        f"classes, say `splits = {as_toml({'train': (THE_ROOT,)})}`."
    )


def _refuse_splits_in_names(tree: FolderTree, spec: DatasetSpec) -> None:
    """Refuse images whose names begin or end with the names of several splits, all of which would be train."""
    if not tree.mention("train"):
        return
    named = Counter(split for name in tree.names() if (split := _split_in(name)))
    if len(named) < 2 or "train" not in named or named.total() < tree.totals[""] / 2:
        return
    counts = ", ".join(f"{split} {named[split]:,}" for split in SPLITS if named[split])
    raise DatasetError(
        f"Dataset {spec.name!r}: names of images may say splits ({counts}), such as "
        f"{printable(min(name for name in tree.names() if _split_in(name)))}, and no folder does. If they do, move the "
        f"images into <split>/<class>/; if not, say `splits = {as_toml({'train': (THE_ROOT,)})}`."
    )


def _split_in(path: str) -> str | None:
    """Return the split that the name of an image begins or ends with, such as ``train_0001.png``."""
    words = re.findall("[a-z]+", path.rpartition("/")[2].rpartition(".")[0].lower())
    return next((split for word in (*words[:1], *words[-1:]) if (split := split_of(word))), None)


def said_of_masks(folders: Mapping[str, int]) -> str | None:
    """Say how many images lie in folders called as masks beside one called images, as if they were pictures, too.

    Parameters
    ----------
    folders : mapping of str to int
        Folder -> number of images in it.
    """
    beside = {place.rpartition("/")[0] for folder in folders for place in _above(folder) if _called(place, _PICTURES)}
    masks = {
        folder: n
        for folder, n in folders.items()
        if any(_called(place, _MASKS) and place.rpartition("/")[0] in beside for place in _above(folder))
    }
    if not masks:
        return None
    return (
        f"{counted(sum(masks.values()), 'image')} in folders called as masks or annotations are taken for images of a "
        f"class: {shortly([repr(printable(folder)) for folder in masks], 3)}"
    )


def _above(folder: str) -> list[str]:
    """Return a folder and those that it lies in, but for the root."""
    parts = folder.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _called(place: str, names: set[str]) -> bool:
    return place.rpartition("/")[2].lower() in names


def _looks_like(name: str) -> str | None:
    """Return the split that a name looks like, such as ``train_images``, ``testset`` or ``val2017``."""
    for word in re.findall("[a-z]+", name.lower()):
        if split := split_of(word):
            return split
        for part in _SPLIT_WORDS:
            if word in (f"{part}set", f"{part}data", f"{part}images", f"{part}ing"):
                return split_of(part)
    return None


def _refuse_splits_below_classes(tree: FolderTree, split: SplitFolder, spec: DatasetSpec) -> None:
    """Refuse ``<class>/<split>/``: taking all images below the class would pool the splits."""
    for name in split.classes:
        top = joined(split.path, name)
        for place in tree.below(top):
            below = place[len(top) + 1 :]
            if below and split_of(place.rpartition("/")[2]):
                raise DatasetError(
                    f"Dataset {spec.name!r}: {printable(place)}, which is called like a split, lies below the class "
                    f"folder {printable(top)}, and all images below it would belong to the class. Move the splits up: "
                    "<split>/<class>/<image>; or give the folder another name if it is none."
                )


def _refuse_classes_below_classes(tree: FolderTree, split: SplitFolder, spec: DatasetSpec) -> None:
    """Refuse a folder among the classes that holds the other classes once more, such as ``train/extra/<class>/``."""
    for name in split.classes:
        place = joined(split.path, name)
        below = tree.folders(place)
        if len(below) > 1 and not tree.images[place] and set(below) <= set(split.classes) - {name}:
            raise DatasetError(
                f"Dataset {spec.name!r}: {printable(place)} holds the folders {_names(below)}, which are called as the "
                "classes beside it, and all their images would belong to one class. Move the images into the classes, "
                "or the folder out of the dataset."
            )


def _refuse_wrapped_classes(tree: FolderTree, splits: Sequence[SplitFolder], spec: DatasetSpec) -> None:
    """Refuse a single class folder that holds several folders: these are meant."""
    classes = {name for split in splits for name in split.classes}
    if len(classes) != 1:
        return
    (name,) = classes
    place = next(joined(split.path, name) for split in splits if split.classes)
    below = tree.folders(place)
    if len(below) < 2:
        return
    root = spec.location.rstrip("/")
    remedy = (
        f"move the folders {_names(below)} up"
        if any(split.path for split in splits)
        else f'write `source = "{spec.family}:{root}/{printable(name)}"`'
    )
    raise DatasetError(
        f"Dataset {spec.name!r} must have at least two class folders. It has one, {name!r}, which holds "
        f"{_names(below)}. If these are splits or classes, {remedy}."
    )


def _no_classes(tree: FolderTree, spec: DatasetSpec) -> str:
    loose = len(tree.images[""])
    has = f"{counted(loose, 'image')} in no folder" if loose else "no image"
    if folders := tree.folders(""):
        has = f"{counted(tree.totals[''], 'image')} in {_names(folders)}"
    return f"{spec.location} must hold <split>/<class>/<image> or <class>/<image>. It has no class folders: {has}."


def _usual(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the map of splits that names seem to mean."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        split = split_of(name) or _looks_like(name) or "train"
        found[split] = (*found.get(split, ()), printable(name))
    return {"train": found.pop("train", ("...",)), **found}


def _names(names: Sequence[str]) -> str:
    return shortly([repr(printable(name)) for name in names])
