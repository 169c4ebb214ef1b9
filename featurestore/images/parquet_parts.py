"""Which split each Parquet file of a folder belongs to, by its name and the folders that it lies in.

The name of a split is what is left of a file's name without the numbers of its parts: ``train`` of
``train-00000-of-00002.parquet``, but ``test_corrupted`` of ``test_corrupted-00000.parquet``, which is another split
than ``test``. What all names of a dataset have in common is no part of it: ``cifar_train`` and ``cifar_test`` are train
and test. Where a file's name says no split, the folder that it lies in does: ``train/0000.parquet``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath

from featurestore.errors import DatasetError
from featurestore.images.dataset_files import printable
from featurestore.images.parquet_listing import SUFFIXES
from featurestore.images.split_names import as_toml, split_of
from featurestore.plain_text import counted, shortly
from featurestore.store.schema import SPLITS

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HASH = r"(?=[a-f]*[0-9])[0-9a-f]{8,}"
_CODEC = r"snappy|zstd|gzip|gz|lz4|brotli"
_PART = re.compile(
    rf"(?:^|[-_. ]+)(?:{_UUID}|{_HASH}|{_CODEC}|\d+|of|tid|c\d+|(?:part|shard|chunk|batch|file)\d*)$", re.I
)
_NUMBERED = re.compile(r"(\d+)[-_]of[-_](\d+)", re.I)
_UNNAMED = "unnamed"
_ONLY = "no name says a split, and there is no other"


@dataclass(frozen=True)
class Part:
    """Files that make up a split.

    Attributes
    ----------
    name : str
        Name of the split in this source.
    files : tuple of PurePosixPath
        Paths inside the folder, in their order.
    reason : str
        Why they are this split, where neither the files' names nor those of folders say it.
    """

    name: str
    files: tuple[PurePosixPath, ...]
    reason: str = ""


@dataclass(frozen=True)
class _Placed:
    """A file with the split that it names, and the folders in which this split lies."""

    file: PurePosixPath
    name: str
    folders: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        return split_of(self.name) is not None


def parts_of(files: Sequence[PurePosixPath], dataset: str, root: str, *, mapped: bool) -> list[Part]:
    """Return the splits that files of a folder make up, known or not.

    Parameters
    ----------
    files : sequence of PurePosixPath
        Paths inside the folder, sorted.
    dataset, root : str
        Name and folder of the dataset, for messages.
    mapped : bool
        Whether the record says what the splits of the source are.

    Raises
    ------
    DatasetError
        If several folders hold the same kind of splits (configurations), several splits have names of which none is
        known, or the numbers of parts contradict each other.
    """
    placed = _place(files, dataset)
    for group in _groups(placed).values():
        _check_numbers([one.file for one in group], dataset)
    known = sorted({one.folders for one in placed if one.is_known})
    if len(known) > 1 and not mapped:
        raise _configurations(placed, known, dataset, root)
    home = known[0] if len(known) == 1 else () if known else _common({one.folders for one in placed})
    parts = [
        Part(printable(_path_name(folders, name, home)), tuple(one.file for one in group))
        for (folders, name), group in _groups(placed).items()
    ]
    if len({part.name for part in parts}) < len(parts):
        raise DatasetError(f"Dataset {dataset!r}: files must have names that differ when they are written as text.")
    if known:
        return parts
    if len(parts) == 1:
        return [Part("train", parts[0].files, _ONLY)]
    if not mapped:
        raise _nothing_known(parts, dataset)
    return parts


def _place(files: Sequence[PurePosixPath], dataset: str) -> list[_Placed]:
    words = _split_words({file: _word(file.name) for file in files})
    stated = {file: split for file, word in words.items() if (split := split_of(word))}
    folders = _split_folders(files, stated, dataset)
    return [_placed(file, words[file], file in stated, folders) for file in files]


def _placed(file: PurePosixPath, word: str, is_stated: bool, folders: dict[PurePosixPath, str]) -> _Placed:
    of_folder = next((parent for parent in file.parents if parent in folders), None)
    if of_folder is not None and (not is_stated or folders[of_folder] == split_of(word)):
        return _Placed(file, word if is_stated else _word(of_folder.name), of_folder.parts[:-1])
    if word:
        return _Placed(file, word, file.parts[:-1])
    named = next((parent for parent in file.parents if _word(parent.name)), None)
    return _Placed(file, _word(named.name), named.parts[:-1]) if named else _Placed(file, _UNNAMED, ())


def _word(name: str) -> str:
    """Return what is left of a file's or folder's name without its suffix and the numbers of parts."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    word = name.removesuffix(name[len(name) - len(suffix) :]) if suffix else name
    word = word.rpartition("=")[2]  # a folder split=train, as Hive names them
    while found := _PART.search(word):
        word = word[: found.start()]
    return word


def _split_words(words: dict[PurePosixPath, str]) -> dict[PurePosixPath, str]:
    """Take off what all words have in common, where only that keeps them from being names of splits."""
    different = {word for word in words.values() if word}
    if not different or any(split_of(word) for word in different):
        return words
    short = (
        _without_affixes(sorted(different)) if len(different) > 1 else _alone(different) if all(words.values()) else {}
    )
    return {file: short.get(word, word) for file, word in words.items()}


def _alone(words: Iterable[str]) -> dict[str, str]:
    """Return the one split that is part of each word, such as train of cifar_train."""
    splits = {word: [token for token in re.split(r"[^A-Za-z]+", word) if split_of(token)] for word in words}
    return {word: tokens[0] for word, tokens in splits.items() if len(tokens) == 1}


def _without_affixes(words: Sequence[str]) -> dict[str, str]:
    prefix = re.sub(r"[A-Za-z0-9]*$", "", words[0][: _agree(words)])
    rest = [word.removeprefix(prefix) for word in words]
    suffix = _suffix(rest)
    short = {word: left.removesuffix(suffix) for word, left in zip(words, rest, strict=True)}
    return short if any(split_of(name) for name in short.values()) and all(short.values()) else {}


def _suffix(words: Sequence[str]) -> str:
    """Return the end that all words share, from a sign or a number on: ``_images``, or ``2017`` of ``train2017``."""
    common = words[0][len(words[0]) - _agree([word[::-1] for word in words]) :]
    for start in range(len(common)):
        at_sign = not common[start].isalnum()
        at_number = common[start:].isdigit() and all(word.removesuffix(common[start:])[-1:].isalpha() for word in words)
        if at_sign or at_number:
            return common[start:]
    return ""


def _agree(sequences: Sequence[Sequence[str]]) -> int:
    """Return at how many first places all sequences are equal."""
    places = zip(*sequences, strict=False)
    return sum(1 for _ in takewhile(lambda place: len(set(place)) == 1, places))


def _split_folders(
    files: Sequence[PurePosixPath], stated: dict[PurePosixPath, str], dataset: str
) -> dict[PurePosixPath, str]:
    """Return the folders that are a split: those called so, unless their files name several splits."""
    found: dict[PurePosixPath, str] = {}
    for folder in sorted({parent for file in files for parent in file.parents}):
        split = split_of(_word(folder.name))
        if split is None:
            continue
        inside = {stated[file]: file for file in files if folder in file.parents and file in stated}
        if len(inside) == 1 and split not in inside:
            raise DatasetError(
                f"Dataset {dataset!r}: a file's name must not contradict its folder's. Got "
                f"{next(iter(inside.values()))} in {folder}. Rename one of them."
            )
        if len(inside) < 2:
            found[folder] = split
    return found


def _groups(placed: Iterable[_Placed]) -> dict[tuple[tuple[str, ...], str], list[_Placed]]:
    groups: dict[tuple[tuple[str, ...], str], list[_Placed]] = {}
    for one in placed:
        groups.setdefault((one.folders, one.name), []).append(one)
    return groups


def _check_numbers(files: Sequence[PurePosixPath], dataset: str) -> None:
    """Refuse a split of which the numbers of parts do not fit each other: parts of two uploads would count twice."""
    by_folder: dict[PurePosixPath, dict[tuple[int, int] | None, PurePosixPath]] = {}
    for file in files:
        found = _NUMBERED.search(file.name)
        number = (int(found[1]), int(found[2])) if found else None
        parts = by_folder.setdefault(file.parent, {})
        other = next((parts[one] for one in parts if not _fit(one, number)), None)
        if other is not None:
            raise DatasetError(
                f"Dataset {dataset!r}: files of one split must be different parts of one whole. {other} and {file} are "
                "not: they may come from two uploads. Remove those that are not meant."
            )
        parts[number] = file


def _fit(one: tuple[int, int] | None, other: tuple[int, int] | None) -> bool:
    """Return whether two files, numbered as one of many or not numbered so, can be parts of one whole."""
    if one is None or other is None:
        return one is other
    return one != other and one[1] == other[1]


def missing_parts(files: Sequence[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Return the files that are parts of a whole of which other parts are not there, and how many are not."""
    wholes: dict[tuple[PurePosixPath, str, str], list[PurePosixPath]] = {}
    for file in files:
        if found := _NUMBERED.search(file.name):
            wholes.setdefault((file.parent, file.name[: found.start()], found[2]), []).append(file)
    return {
        file: f"{int(total) - len(parts)} of {counted(int(total), 'part')} not there"
        for (_, _, total), parts in wholes.items()
        for file in parts
        if len(parts) < int(total)
    }


def why_train(file: PurePosixPath) -> str:
    """Return why a file that is named alone is train, if its name does not say it."""
    named = split_of(_word(file.name))
    if named in (None, "train"):
        return "" if named else _ONLY
    return f"it is the only file, though its name says {named}"


def _common(folders: set[tuple[str, ...]]) -> tuple[str, ...]:
    some = next(iter(folders))
    return some[: _agree(list(folders))]


def _path_name(folders: tuple[str, ...], name: str, home: tuple[str, ...]) -> str:
    """Return the name of a split: with its folders, if they are not those of the others."""
    return name if folders == home else "/".join((*folders, name))


def _configurations(
    placed: Sequence[_Placed], known: Sequence[tuple[str, ...]], dataset: str, root: str
) -> DatasetError:
    found: dict[tuple[str, ...], dict[str | None, str]] = {folders: {} for folders in known}
    for one in placed:
        if one.is_known:
            found[one.folders].setdefault(split_of(one.name), _path_name(one.folders, one.name, ()))
    best = max(known, key=lambda folders: ("train" in found[folders], len(found[folders])))
    rest = {} if len(found[best]) > 1 else {split: name for own in found.values() for split, name in own.items()}
    chosen = {split: (name,) for split in SPLITS if (name := (rest | found[best]).get(split))}
    whole = "/".join(best) if "train" in found[best] else ""
    advice = f'Name one of them, such as source = "parquet:{root}/{whole}", or say' if whole else "Say"
    return DatasetError(
        f"Dataset {dataset!r} must be one set of splits. {root} has files of splits in {len(known)} places: "
        f"{shortly(['/'.join(folders) or 'the folder itself' for folders in known])}. {advice} what counts, such as "
        f"`splits = {as_toml(chosen)}`."
    )


def _nothing_known(parts: Sequence[Part], dataset: str) -> DatasetError:
    names = [part.name for part in parts]
    return DatasetError(
        f"Dataset {dataset!r} must have a split called train. Its files are {shortly([repr(name) for name in names])}, "
        f"and none of these is the name of a split. Say what they are, such as "
        f"`splits = {as_toml({'train': tuple(names[:-1]), 'test': (names[-1],)})}`."
    )
