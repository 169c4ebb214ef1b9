"""What `probestore list` shows: one readable table per kind."""

from __future__ import annotations

from types import ModuleType

from rich.table import Table

from featurestore.datasets import known_datasets
from featurestore.models import known_models


def models() -> Table:
    """The model records that have a name; any ``family:identifier`` works beside them."""
    table = Table("model", "backbone", "width", "input", "params (M)", "ImageNet top-1", caption=_ANY_BACKBONE)
    for spec in known_models().values():
        params = f"{spec.params / 1e6:.1f}" if spec.params else "-"
        top1 = f"{spec.imagenet_top1:.1%}" if spec.imagenet_top1 else "-"
        table.add_row(spec.name, spec.backbone, _or_dash(spec.feature_dim), _or_dash(spec.input_size), params, top1)
    return table


_ANY_BACKBONE = "Also timm:NAME, torchvision:NAME/WEIGHTS and python:MODULE:FUNCTION, in a study file."


def datasets() -> Table:
    """The dataset records that have a name."""
    table = Table(
        "dataset", "source", "metric", caption="Also image_folder:FOLDER and parquet:FOLDER, in a study file."
    )
    for spec in known_datasets().values():
        table.add_row(spec.name, spec.source, spec.metric)
    return table


def probes() -> Table:
    """The files of probes/methods."""
    import probes.methods as package

    return _described("probe", package)


def solvers() -> Table:
    """The files of probes/solvers."""
    import probes.solvers as package

    return _described("solver", package)


def backbones() -> Table:
    """The files of featurestore/backbones."""
    import featurestore.backbones as package

    return _described("backbone", package)


def sources() -> Table:
    """The files of featurestore/sources."""
    import featurestore.sources as package

    return _described("source", package)


def queries() -> Table:
    """The files of queries/*.sql, by their first lines."""
    from queries import questions

    table = Table("query", "question")
    for name in questions.names():
        table.add_row(name, questions.describe(name).text)
    return table


def _described(kind: str, package: ModuleType) -> Table:
    """Name and first sentence of every module; read from the source, so that none has to be importable here."""
    import ast
    import pkgutil

    table = Table(kind, "what it is")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        source = module.module_finder.find_spec(module.name, None).loader.get_source(module.name)  # type: ignore[union-attr]
        text = ast.get_docstring(ast.parse(source)) or ""
        table.add_row(module.name, " ".join(text.split("\n\n")[0].split()))
    return table


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
