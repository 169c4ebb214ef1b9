"""Read the tensors of a checkpoint file, whatever else lies in it. Nothing that lies in it is ever run.

Only tensors come in: safetensors, or ``torch.load(weights_only=True)``. A training script often saves more beside them
(its arguments, paths, an optimizer). Objects of classes that torch does not know become `Inert`: an empty stand-in
with their name, so that the tensors beside them can be read and no code of those classes runs.
"""

from __future__ import annotations

import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.errors import BackboneError
from featurestore.plain_text import counted

if TYPE_CHECKING:
    import torch

State = dict[str, "torch.Tensor"]
"""Tensors by name."""

_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global|unsupported GLOBAL (\S+) whose module")
_MOST_CLASSES = 200  # of other code in one file
_DATA_OF_PYTHON = ("argparse", "collections", "copyreg", "datetime", "decimal", "enum", "pathlib", "uuid", "_codecs")
"""Modules of the standard library whose classes hold data. A file that names others asks for something to be run."""
_BUILT_IN_DATA = ("set", "frozenset", "dict", "list", "tuple", "slice", "range", "complex", "bytearray", "object")
_DEEPEST = 3  # levels at which a state dict is looked for
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Inert:
    """An object of a class that is not known here: a stand-in, without its content."""

    origin = ""

    def __new__(cls, *args: Any, **fields: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **fields: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weights file.

    Attributes
    ----------
    path : Path
    states : dict of str to dict of str to Tensor
        Everything in it that may be a state dict, by its place: ``""`` is the file itself, ``"model"`` its entry of
        that name, ``"teacher.state"`` an entry of an entry.
    what : str
        What the file is, in words: ``a checkpoint with the entries epoch, model (62 tensors)``.
    """

    path: Path
    states: dict[str, State]
    what: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read all that may be weights in a ``.safetensors`` or torch file.

    Raises
    ------
    BackboneError
        If the file cannot be read, or holds no tensors by name.
    """
    content = _content(path)
    states = _states(content)
    if not states:
        raise BackboneError(
            f"{path} must hold a state dict (tensors by name), as torch.save(model.state_dict(), path) writes. It is "
            f"{_in_words(content)}."
        )
    return Checkpoint(path, states, _in_words(content))


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors" or _starts_as_safetensors(path):
            from safetensors.torch import load_file

            return dict(load_file(path))
        return _unpickled(path)
    except (
        OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
        pickle.UnpicklingError, _safetensors_error(),
    ) as error:  # fmt: skip
        raise BackboneError(
            f"Cannot read weights from {path}: {_known_kind(path) or _cause(error)}. They must be a state dict "
            "of tensors, as safetensors or as saved by torch.save(model.state_dict(), path)."
        ) from error


def _starts_as_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do, whatever its name: the length of a header, then its brace."""
    return _start_of(path)[8:9] == b"{" and int.from_bytes(_start_of(path)[:8], "little") < path.stat().st_size


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _known_kind(path: Path) -> str | None:
    """Say what a file is that holds no weights, if it is of a kind that people meet."""
    try:
        start = _start_of(path)
        names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    except (OSError, zipfile.BadZipFile):
        return None
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the file itself; `git lfs pull` fetches that"
    if start.lstrip()[:1] == b"<":
        return "it is a page of HTML or XML, perhaps that of a download that failed"
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is a TorchScript program; torch.jit.load(path).state_dict() has its weights"
    if any(name.endswith(".npy") for name in names) or start.startswith(b"\x93NUMPY"):
        return "it holds arrays of numpy; make tensors of them with torch.from_numpy"
    return None


def _unpickled(path: Path) -> Any:
    """Load a torch file, with stand-ins for objects of other code; tensors of a file in the zip format stay on disk."""
    import torch

    known: list[tuple[type[Inert], str]] = []
    mapped = zipfile.is_zipfile(path)
    while len(known) < _MOST_CLASSES:
        try:
            with torch.serialization.safe_globals(known), warnings.catch_warnings():  # type: ignore[arg-type]
                warnings.simplefilter("ignore")  # other versions of the pickle protocol
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            found = _REFUSED.search(str(error))
            if found is None:
                raise pickle.UnpicklingError(_reason(error, known)) from error
            known.append(_stand_in(found[1] or found[2]))
    raise pickle.UnpicklingError(f"it holds objects of more than {_MOST_CLASSES} classes")


def _stand_in(name: str) -> tuple[type[Inert], str]:
    """Return a stand-in for a class that is data. Whatever would be run is refused."""
    name = name if "." in name else f"builtins.{name}"  # torch leaves the module out
    top = name.split(".")[0]
    harmless = top in _DATA_OF_PYTHON or name.removeprefix("builtins.") in _BUILT_IN_DATA
    if top in sys.stdlib_module_names and not harmless:
        raise pickle.UnpicklingError(f"it asks for {name} to be run, which weights never need")
    return type("Inert", (Inert,), {"origin": name}), name


def _reason(error: Exception, known: list[tuple[type[Inert], str]]) -> str:
    if not known:
        return _first_line(error)
    return f"it holds objects that cannot be read without running their code, of {known[-1][1]}"


def _states(content: Any, place: str = "", depth: int = 0) -> dict[str, State]:
    """Return everything that may be a state dict: mappings of names to tensors, at most `_DEEPEST` levels down."""
    import torch

    if not isinstance(content, Mapping):
        return {}
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    found = {place: tensors} if tensors else {}
    for name, value in named.items():
        if depth < _DEEPEST:
            found.update(_states(value, f"{place}.{name}" if place else name, depth + 1))
    return found


def _in_words(content: Any) -> str:
    """Say what a file holds."""
    import torch

    if isinstance(content, Inert):
        return f"a whole object ({content.origin}), not its weights: save its state_dict() instead"
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if content and all(isinstance(value, torch.Tensor) for value in content.values()):
        return f"a state dict of {counted(len(content), 'tensor')}"
    kind = "a Lightning checkpoint" if "pytorch-lightning_version" in content else "a checkpoint"
    entries = [f"{name}{_size(value)}" for name, value in content.items()]
    more = f" and {len(entries) - 12} more" if len(entries) > 12 else ""
    return f"{kind} with the entries {', '.join(entries[:12])}{more}" if entries else "empty"


def _size(value: Any) -> str:
    states = _states(value)
    if states:
        return f" ({counted(max(map(len, states.values())), 'tensor')})"
    return f" (an object of {value.origin})" if isinstance(value, Inert) else ""


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    error: type[Exception] = SafetensorError
    return error


def _cause(error: BaseException) -> str:
    """Say why a file cannot be read; pickle may say a bare number, and torch advises to run the file's code."""
    line = _first_line(error)
    if isinstance(error, (LookupError, EOFError)) or "weights_only" in line:
        return "it is not a file of tensors that torch.save wrote, or it is damaged"
    return line


def _first_line(error: BaseException) -> str:
    lines = _ESCAPES.sub("", str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
