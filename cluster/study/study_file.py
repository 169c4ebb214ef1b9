"""study.toml -> frozen records. Only this package knows the file: all others take plain arguments.

    name = "pets"                                        # default: the file's name
    store = "store"                                      # default: PROBESTORE_STORE, else ./store
    models = ["mobilenet_v2", "timm:resnet50.a1_in1k"]   # of the catalogue, or family:name
    datasets = ["digits"]                                # of the catalogue

    [extract]                                            # every key has the default shown
    resize = "squash"                                    # or "crop": each model's own
    compute = "fp32"                                     # or "bf16", "fp16"
    storage = "float16"                                  # or "float32"
    max_relative_error = 0.05                            # what bf16 or fp16 may change, in the mean over images
    taps = ["penultimate"]                               # where features are taken; see featurestore/networks/taps.py
    batch_size = 32                                      # images; default: what suits the device
    model_memory_gb = 8.0                                # weights that a worker holds; a study of more goes in groups
    strict = false                                       # true: an unreadable image stops its dataset

    [probe]
    probes = ["logistic"]
    solver = "auto"                                      # of the probes that need one
    seed = 0
    n_per_class = []                                     # few-shot tasks beside the full one: training images per class
    few_shot_seeds = 3                                   # draws of each of those tasks

    [probe.logistic]                                     # any number; the fields of that probe's Options
    scaling = "standardize"

    [cluster]                                            # what a worker asks for; default: what suits the nodes
    features = { gpus = 0.5, cpus = 4, memory_gb = 8, resources = { a100 = 0.5 }, max_workers = 64 }
    probes = { gpus = 0, cpus = 2 }
    autoscaling = false                                  # true: the cluster starts nodes when they are asked for

    [[model]]                                            # any number; the fields of ModelSpec
    [[dataset]]                                          # any number; the fields of DatasetSpec

Models and datasets that are defined in the file are part of the study; `models` and `datasets` need not name them.
Relative paths are relative to the file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cluster.study.cluster_settings import FORMER_NAMES, ClusterSettings, WorkerSettings, kinds_of_work
from cluster.study.probe_settings import ProbeSettings, read_probe_settings
from cluster.study.toml_errors import in_words
from cluster.study.toml_tables import Place, TomlTables
from featurestore.catalogue.datasets import DatasetSpec, find_dataset
from featurestore.catalogue.models import ModelSpec, find_model
from featurestore.errors import ConfigurationError, UnknownNameError, did_you_mean
from featurestore.given_files import check_utf8, given_path, read_given_text
from featurestore.images.preprocessing import Resize
from featurestore.networks.identity import Compute, FeatureType
from featurestore.networks.precision import MAX_RELATIVE_ERROR
from featurestore.networks.taps import check_tap
from featurestore.store.layout import PENULTIMATE, check_name
from probes import metrics

_Spec = TypeVar("_Spec", ModelSpec, DatasetSpec)
_OPENED = ("/dev/stdin", "/dev/fd/", "/proc/")
_LOCAL_SOURCES = ("image_folder", "parquet")


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """The ``[extract]`` table.

    Attributes
    ----------
    resize : str
        ``"squash"`` resizes the whole image to a square, as the paper; ``"crop"`` is each model's own preprocessing,
        pixel for pixel as timm and torchvision do it.
    compute : str
        Arithmetic of the networks: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    storage : str
        Type that features are stored as: ``"float16"`` or ``"float32"``. Features that float16 cannot hold are stored
        as float32 in either case.
    max_relative_error : float
        How much bf16 or fp16 may change the features, in the mean over images, before the work counts as failed.
    taps : list of str
        Layers at which features are taken, all in one pass: ``"penultimate"``, ``"pre_logits"``, ``"pooled"``,
        ``"cls"``, ``"mean_patch"``, ``"logits"`` or ``"block:NAME"``.
    batch_size : int, optional
        Images that go through a network at a time; by default what suits the device.
    model_memory_gb : float
        Size of the weights that a worker may hold, in units of 2^30 bytes; models that need more go in groups.
    strict : bool
        Whether an unreadable image stops its dataset; otherwise the image is left out.
    """

    resize: Resize = "squash"
    compute: Compute = "fp32"
    storage: FeatureType = "float16"
    max_relative_error: float = MAX_RELATIVE_ERROR
    taps: tuple[str, ...] = (PENULTIMATE,)
    batch_size: int | None = None
    model_memory_gb: float = 8.0
    strict: bool = False

    def __post_init__(self) -> None:
        if not self.taps or len(set(self.taps)) < len(self.taps):
            raise ConfigurationError(f"taps must be at least one name, each once. Got {list(self.taps)}.")
        for tap in self.taps:
            check_tap(tap)
        for field_name in ("max_relative_error", "model_memory_gb"):
            if getattr(self, field_name) <= 0:
                raise ConfigurationError(f"{field_name} must be positive. Got {getattr(self, field_name)}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1. Got {self.batch_size}.")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: models x datasets x probes, and how they are computed.

    Attributes
    ----------
    folder : Path
        Folder of the file, in which modules of ``python:`` models are looked for.
    text : str
        Text of the file, which is kept in the store.
    file : str, optional
        What makes the study again: the absolute path of its file, or a command that begins with ``probestore``. None
        for a text that has neither, such as standard input.
    """

    name: str
    models: tuple[ModelSpec, ...]
    datasets: tuple[DatasetSpec, ...]
    extract: ExtractSettings
    probe: ProbeSettings
    folder: Path
    text: str
    file: str | None = None
    store: str | None = None
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


@dataclass(frozen=True, kw_only=True)
class TopKeys:
    """The keys outside any table.

    Attributes
    ----------
    name : str, optional
        Name of the study; by default the name of the file without ``.toml``.
    store : str, optional
        Folder or URL of the store, unless ``--store`` names one; by default the variable PROBESTORE_STORE, else
        ``store``.
    models : list of str
        Models of the catalogue by name, or ``family:identifier``, such as ``timm:resnet50.a1_in1k``.
    datasets : list of str
        Datasets of the catalogue by name.
    """

    name: str | None = None
    store: str | None = None
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClusterKeys:
    """The keys of ``[cluster]`` that are no kind of work.

    Attributes
    ----------
    autoscaling : bool
        Whether the cluster starts nodes on demand; then work waits for a node that can carry its workers.
    """

    autoscaling: bool = False


_TABLES = ("extract", "probe", "cluster", "model", "dataset")


def read_study(path: Path) -> Study:
    """Read and check a study file. No network is loaded and no dataset is opened.

    Raises
    ------
    ConfigurationError
        If something is wrong. The message has the file, the line and a suggestion.
    """
    try:
        text = read_given_text(path)
    except FileNotFoundError as error:
        others = [str(other) for other in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ConfigurationError(f"There is no study file {path}.{did_you_mean(str(path), others)}") from error
    except OSError as error:
        raise ConfigurationError(f"Cannot read the study file {path}: {error}") from error
    check_utf8("a study", path.absolute())  # it is that of images and weights beside it, too
    return dataclasses.replace(parse_study(text, path), file=_place_of(path))


def _place_of(path: Path) -> str | None:
    """Return the absolute path of a study file, links as they were given; None for what a shell has opened for us."""
    whole = path.absolute()
    if str(whole).startswith(_OPENED) or not whole.is_file():
        return None
    return str(whole.parent.resolve() / whole.name if ".." in whole.parts else whole)


def parse_study(text: str, path: Path) -> Study:
    """Parse the text of a study file. `path` gives its folder, its default name, and its name in messages."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {in_words(error, text)}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply to be a study: lists in lists in lists.") from error
    tables = TomlTables(text, path)
    top = tables.record(TopKeys, {key: content[key] for key in content if key not in _TABLES}, other_keys=_TABLES)
    extract = tables.record(ExtractSettings, content.get("extract", {}), Place("extract"))
    probe = read_probe_settings(tables, content.get("probe", {}))
    own_models = [_absolute_weights(spec, path) for spec in tables.array(ModelSpec, content.get("model", []), "model")]
    own_datasets = [
        _absolute_source(spec, path) for spec in tables.array(DatasetSpec, content.get("dataset", []), "dataset")
    ]
    _check_metrics(tables, own_datasets)
    return Study(
        name=_name(tables, top.name, path),
        models=_members(tables, "models", top.models, own_models, find_model),
        datasets=_members(tables, "datasets", top.datasets, own_datasets, find_dataset),
        extract=extract,
        probe=probe,
        folder=path.parent.absolute(),
        text=text,
        cluster=_cluster(tables, content.get("cluster", {})),
        store=top.store if top.store is None or "://" in top.store else str(path.parent / top.store),
    )


def _name(tables: TomlTables, name: str | None, path: Path) -> str:
    """Return the name of a study, which is that of its file unless it states one."""
    try:
        return check_name("study", path.stem if name is None else name)
    except ConfigurationError as error:
        advice = (
            f"{error} Begin the file with a name of its own, such as: name = 'study'" if name is None else str(error)
        )
        raise tables.error(advice, Place(key="name")) from error


def _cluster(tables: TomlTables, content: Any) -> ClusterSettings:
    if not isinstance(content, dict):
        return tables.record(ClusterSettings, content, Place("cluster"))
    kinds = kinds_of_work()
    workers = {}
    for key in [key for key in content if key in (*kinds, *FORMER_NAMES)]:
        kind = FORMER_NAMES.get(key, key)
        if kind in workers:
            raise tables.error(
                f"[cluster] sets {kind!r} twice: {key!r} is its former name. Remove one.", Place("cluster", key)
            )
        workers[kind] = tables.record(WorkerSettings, content[key], Place(f"cluster.{key}"))
    own = {key: value for key, value in content.items() if key not in (*kinds, *FORMER_NAMES)}
    keys = tables.record(ClusterKeys, own, Place("cluster"), other_keys=(*kinds, *FORMER_NAMES))
    return ClusterSettings(workers=workers, autoscaling=keys.autoscaling)


def _members(
    tables: TomlTables,
    key: str,
    names: tuple[str, ...],
    own: list[_Spec],
    find: Callable[[str, Iterable[_Spec]], _Spec],
) -> tuple[_Spec, ...]:
    """Return the records that `names` lists and those of the file, each once. The file's replace the catalogue's."""
    table = key.removesuffix("s")
    found: dict[str, _Spec] = {}
    for name in names:
        try:
            spec = find(name, own)
        except ConfigurationError as error:
            raise tables.error(str(error), Place(key=key)) from error
        if found.get(spec.name, spec) != spec:
            message = f"{name!r} and another entry would both be called {spec.name!r}; give one a name of its own in a "
            raise tables.error(f"{message}[[{table}]] entry.", Place(key=key))
        found[spec.name] = spec
    for spec in own:
        if found.get(spec.name, spec) != spec or [other.name for other in own].count(spec.name) > 1:
            raise tables.error(f"two {key} are called {spec.name!r}; give one of them another name.", Place(table))
        found[spec.name] = spec
    if not found:
        message = f"a study needs at least one of {key}: {key} = [...] or a [[{table}]] entry."
        raise tables.error(message, Place())
    return tuple(found.values())


def _check_metrics(tables: TomlTables, datasets: list[DatasetSpec]) -> None:
    for number, spec in enumerate(datasets):
        try:
            metrics.by_name(spec.metric)
        except UnknownNameError as error:
            raise tables.error(str(error), Place("dataset", "metric", number)) from error


def _absolute_weights(spec: ModelSpec, path: Path) -> ModelSpec:
    if spec.weights in ("pretrained", "none"):
        return spec
    return dataclasses.replace(spec, weights=str((path.parent / given_path(spec.weights)).absolute()))


def _absolute_source(spec: DatasetSpec, path: Path) -> DatasetSpec:
    if spec.family not in _LOCAL_SOURCES:
        return spec
    place = (path.parent / given_path(spec.location)).absolute()
    roots = tuple(str((path.parent / given_path(root)).absolute()) for root in spec.link_roots)
    return dataclasses.replace(spec, source=f"{spec.family}:{place}", link_roots=roots)
