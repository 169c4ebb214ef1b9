"""study.toml -> frozen records. Configuration stops here: everything below takes plain arguments.

    name = "pets"                                        # default: the file's name
    store = "store"                                      # default: PROBESTORE_STORE, else ./store
    models = ["mobilenet_v2", "timm:resnet50.a1_in1k"]   # of the catalogue, or family:name
    datasets = ["digits"]                                # of the catalogue

    [extract]                                            # every key has the default shown
    resize = "squash"                                    # or "crop": each model's own
    compute = "fp32"                                     # or "bf16", "fp16"
    storage = "float16"                                  # or "float32"
    batch_size = 32                                      # images; default: what suits the device
    strict = false                                       # true: an unreadable image stops its dataset

    [probe]
    probes = ["logistic"]
    solver = "auto"
    seed = 0

    [[model]]                                            # any number; the fields of ModelSpec
    [[dataset]]                                          # any number; the fields of DatasetSpec

What is defined in the file is always part of the study, beside what `models` and `datasets` name. Relative paths are
relative to the file.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from featurestore.datasets import DatasetSpec, find_dataset
from featurestore.errors import ConfigurationError, UnknownNameError, did_you_mean
from featurestore.extract import Compute, Storage
from featurestore.layout import check_name
from featurestore.models import ModelSpec, find_model
from featurestore.preprocessing import Resize
from probes import methods, metrics

_Record = TypeVar("_Record")
_LOCAL_SOURCES = ("image_folder", "parquet")


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """The ``[extract]`` table."""

    resize: Resize = "squash"
    compute: Compute = "fp32"
    storage: Storage = "float16"
    batch_size: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1. Got {self.batch_size}.")


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """The ``[probe]`` table."""

    probes: tuple[str, ...] = ("logistic",)
    solver: str = "auto"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is wanted: models x datasets x probes.

    Attributes
    ----------
    folder : Path
        Where the file is; modules of ``python:`` models are looked for here.
    text : str
        The file itself, kept beside the run.
    """

    name: str
    models: tuple[ModelSpec, ...]
    datasets: tuple[DatasetSpec, ...]
    extract: ExtractSettings
    probe: ProbeSettings
    folder: Path
    text: str
    store: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Top:
    """The keys outside any table."""

    name: str | None = None
    store: str | None = None
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


_TABLES = {"extract": ExtractSettings, "probe": ProbeSettings}
_ARRAYS = {"model": ModelSpec, "dataset": DatasetSpec}


def read_study(path: Path) -> Study:
    """Read and check a study file; nothing is loaded or opened yet.

    Raises
    ------
    ConfigurationError
        With the file, the line and a suggestion, for anything that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        others = [str(other) for other in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ConfigurationError(f"There is no study file {path}.{did_you_mean(str(path), others)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Cannot read the study file {path}: {error}") from error
    return parse_study(text, path)


def parse_study(text: str, path: Path) -> Study:
    """Parse the text of a study file; `path` gives its folder, its default name and the place in messages."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    parser = _Parser(text, path)
    tables = {*_TABLES, *_ARRAYS}
    top = parser.record(_Top, {key: value for key, value in content.items() if key not in tables}, extra_keys=tables)
    extract = parser.record(ExtractSettings, content.get("extract", {}), "extract")
    probe = parser.record(ProbeSettings, content.get("probe", {}), "probe")
    own_models = [_absolute_weights(spec, path) for spec in parser.array(ModelSpec, content, "model")]
    own_datasets = [_absolute_source(spec, path) for spec in parser.array(DatasetSpec, content, "dataset")]
    parser.check_probes(probe)
    parser.check_metrics(own_datasets)
    return Study(
        name=check_name("study", top.name or path.stem),
        models=parser.members("models", top.models, own_models, find_model),
        datasets=parser.members("datasets", top.datasets, own_datasets, find_dataset),
        extract=extract,
        probe=probe,
        folder=path.parent.absolute(),
        text=text,
        store=top.store if top.store is None or "://" in top.store else str(path.parent / top.store),
    )


def resolve_solver(probe: str, wanted: str) -> str:
    """The solver that a probe is to use: the one that is asked for, its own preferred one, or none (an empty string).

    Raises
    ------
    UnknownNameError
        If there is no such probe, or it does not take that solver.
    """
    offered = methods.load(probe).SOLVERS
    if not offered:
        return ""
    if wanted == "auto":
        return offered[0]
    if wanted not in offered:
        raise UnknownNameError(f"solver of the probe {probe!r}:", wanted, offered, f"It takes: {', '.join(offered)}.")
    return wanted


class _Parser:
    """Turns tables into records; knows the lines of the file for its messages."""

    def __init__(self, text: str, path: Path) -> None:
        self._lines = text.splitlines()
        self._path = path

    def record(
        self, kind: type[_Record], content: Any, table: str = "", index: int = 0, extra_keys: set[str] | None = None
    ) -> _Record:
        if not isinstance(content, dict):
            raise ConfigurationError(f"{self._path}: {table!r} must be a table, [{table}]. Got {content!r}.")
        known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        for key in content:
            if key not in known:
                candidates = [*known, *(extra_keys or ())]
                raise self._error(
                    f"unknown key {key!r}.{did_you_mean(key, candidates)} {_keys(table, known)}", table, index, key
                )
        try:
            # JSON mode is strict about types and still takes a TOML array for a tuple.
            return TypeAdapter(kind).validate_json(json.dumps(content, default=str), strict=True)
        except ValidationError as error:
            raise self._invalid(error, content, table, index) from error
        except ConfigurationError as error:
            raise self._error(str(error), table, index) from error

    def array(self, kind: type[_Record], content: dict[str, Any], table: str) -> list[_Record]:
        entries = content.get(table, [])
        if not isinstance(entries, list):
            raise self._error(f"{table} must be an array of tables: write [[{table}]], with two brackets.", table, 0)
        return [self.record(kind, entry, table, index) for index, entry in enumerate(entries)]

    def members(self, key: str, names: tuple[str, ...], own: list[Any], find: Any) -> tuple[Any, ...]:
        """Records that `names` lists and those defined in the file, each once; the file's replace the catalogue's."""
        found: dict[str, Any] = {}
        for name in names:
            try:
                spec = find(name, own)
            except ConfigurationError as error:
                raise self._error(str(error), "", 0, key) from error
            if found.get(spec.name, spec) != spec:
                raise self._error(
                    f"{name!r} and another entry would both be called {spec.name!r}; give one a name of its own in a "
                    f"[[{key.rstrip('s')}]] entry.",
                    "",
                    0,
                    key,
                )
            found[spec.name] = spec
        for spec in own:
            if found.get(spec.name, spec) != spec or [other.name for other in own].count(spec.name) > 1:
                raise self._error(f"two {key} are called {spec.name!r}; give one another name.", key.rstrip("s"), 0)
            found[spec.name] = spec
        if not found:
            raise self._error(
                f"a study needs at least one of {key}: {key} = [...] or a [[{key.rstrip('s')}]] entry.", "", 0
            )
        return tuple(found.values())

    def check_probes(self, settings: ProbeSettings) -> None:
        for name in settings.probes:
            key = "solver" if name in methods.names() else "probes"
            try:
                resolve_solver(name, settings.solver)
            except UnknownNameError as error:
                raise self._error(str(error), "probe", 0, key) from error

    def check_metrics(self, datasets: list[DatasetSpec]) -> None:
        for index, spec in enumerate(datasets):
            try:
                metrics.by_name(spec.metric)
            except UnknownNameError as error:
                raise self._error(str(error), "dataset", index, "metric") from error

    def _invalid(self, error: ValidationError, content: dict[str, Any], table: str, index: int) -> ConfigurationError:
        first = error.errors()[0]
        if first["type"] == "missing" or not first["loc"]:
            missing = [str(item["loc"][0]) for item in error.errors() if item["type"] == "missing"]
            return self._error(f"[[{table}]] must have {' and '.join(missing) or first['msg']}.", table, index)
        key = str(first["loc"][0])
        return self._error(f"{key}: {first['msg'].lower()}. Got {content[key]!r}.", table, index, key)

    def _error(self, message: str, table: str, index: int, key: str | None = None) -> ConfigurationError:
        line = self._line(table, index, key)
        return ConfigurationError(f"{self._path}{f', line {line}' if line else ''}: {message}")

    def _line(self, table: str, index: int, key: str | None) -> int | None:
        """Line of a key, or of its table's header; None where the file writes it in another way than usual."""
        current, count, header = "", -1, None
        for number, line in enumerate(self._lines, start=1):
            if match := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?", line):
                current = match[1]
                count += current == table
                if current == table and count == index:
                    header = number
            elif (
                key
                and current == table
                and (not table or count == index)
                and re.match(rf"\s*[\"']?{re.escape(key)}\b", line)
            ):
                return number
        return header


def _keys(table: str, known: list[str]) -> str:
    place = f"[{table}]" if table in _TABLES else f"[[{table}]]" if table else "The file"
    return f"{place} takes: {', '.join(known if table else [*known, *_TABLES, *_ARRAYS])}."


def _absolute_weights(spec: ModelSpec, path: Path) -> ModelSpec:
    if spec.weights in ("pretrained", "none"):
        return spec
    return dataclasses.replace(spec, weights=str((path.parent / Path(spec.weights).expanduser()).absolute()))


def _absolute_source(spec: DatasetSpec, path: Path) -> DatasetSpec:
    if spec.family not in _LOCAL_SOURCES:
        return spec
    place = (path.parent / Path(spec.location).expanduser()).absolute()
    return dataclasses.replace(spec, source=f"{spec.family}:{place}")
