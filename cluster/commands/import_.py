"""`probestore import`: results that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cluster.console import options
from cluster.console.terminal import say
from featurestore.images.class_names import said_of_alike
from featurestore.plain_text import counted, shell_command, shortly
from featurestore.store.schema import SETS, TABLES

if TYPE_CHECKING:
    from featurestore import FeatureStore
    from probes.imports.imported import Import

_FILE = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Bring results that were made elsewhere into a store.

    \b
    Example:  probestore import results published.csv --models networks.csv --store store
    """


@command.command("results")
@click.argument("file", type=_FILE)
@click.option(
    "--models", type=_FILE, metavar="FILE", help="CSV file that describes the models: imagenet_top1, params, ..."
)
@click.option(
    "--datasets", type=_FILE, metavar="FILE", help="CSV file that describes the datasets: classes, sizes, metric."
)
@click.option("--origin", metavar="NAME", help="Name of the import. [default: the file's name without .csv]")
@click.option(
    "--rename",
    "renamed",
    multiple=True,
    metavar="OLD=NEW",
    help="Dataset OLD of the files gets the name NEW in the store, such as 'VOC2007=voc2007'; can be repeated.",
)
@options.store_option
@options.storage_option
def results(
    file: Path,
    models: Path | None,
    datasets: Path | None,
    origin: str | None,
    renamed: tuple[str, ...],
    store: str | None,
    storage_options: dict[str, str],
) -> None:
    """Import a CSV FILE of results into a store. A store is made if there is none.

    The columns of FILE are setting (fixed, finetuned or scratch), model, dataset, metric, value (a fraction) and n_test
    (images), and, if known, probe, tap, n_per_class, seed, standard_error, n_train, n_val and train_steps. All files
    are checked before anything is written. Another import of the same origin replaces the earlier one.

    \b
    Example:  probestore import results published.csv --models networks.csv --store store
    """
    from cluster.runs.planning import existing_store
    from featurestore import FeatureStore
    from probes.imports.imported import add, check, read_import

    names = dict(options.key_value(text) for text in renamed)
    read = read_import(file, models=models, datasets=datasets, origin=origin, renamed=names)
    uri = store or options.DEFAULT_STORE
    check(read, existing_store(uri, storage_options))
    opened = FeatureStore.create(uri, storage_options=storage_options)
    opened.storage.check_usable()
    files = {"--models": models, "--datasets": datasets}
    changed = add(opened, read, command=_command(file, files, read.origin, renamed))
    for remark in opened.storage.remarks:
        say(remark)
    _say(opened, read, changed)


def _command(file: Path, files: Mapping[str, Path | None], origin: str, renamed: Sequence[str]) -> str:
    """Return the command that imports the same files again, from any folder."""
    described = [word for name, path in files.items() if path for word in (name, str(path.absolute()))]
    renames = [word for rename in renamed for word in ("--rename", rename)]
    given = [str(file.absolute()), *described, "--origin", origin, *renames]
    return shell_command("probestore", "import", "results", *given)


def _say(store: FeatureStore, read: Import, changed: list[str]) -> None:
    """Say what the store has now, what its questions will lack, and what to ask next."""
    settings = read.names("setting")
    n_models, n_datasets = counted(len(read.names("model")), "model"), counted(len(read.names("dataset")), "dataset")
    what = f"{counted(len(read.results), 'result')} of {n_models} on {n_datasets} ({', '.join(settings)})"
    if changed:
        say(f"Imported {what} as {read.origin!r}; changed: {', '.join(changed)}.")
    else:
        say(f"Nothing has changed: {what} had been imported as {read.origin!r} before.")
    if sources := read.source_metrics():
        say(f"Beside imagenet_top1, -p source=NAME takes these source metrics: {', '.join(sources)}.")
    _say_names(read)
    if taken := read.defaults():
        values = ", ".join(f"{name} {value}" for name, value in taken.items())
        say(f"Where the file does not say it, results are taken for those of {values}.")
    if unknown_errors := read.without_error():
        found = shortly([f"{metric} ({count})" for metric, count in unknown_errors.items()])
        say(f"The standard error of these results is not known, so that they are in no test of one dataset: {found}.")
    if unknown := _without_source(store):
        say(
            f"imagenet_top1 of {shortly(unknown)} is not known. Correlations leave out models without it. "
            "Give it with --models FILE."
        )
    say("Two questions show the result, and where models lie that are not part of the largest import:")
    setting = "fixed" if "fixed" in settings else settings[0]
    for question in ("transfer_correlation", "predicted_transfer"):
        say("  " + shell_command("probestore", "query", question, "-p", f"setting={setting}", "--store", store.uri))


def _say_names(read: Import) -> None:
    """Say which names of one file are not in the other, and which differ in next to nothing."""
    if undescribed := read.undescribed("dataset"):
        unused = read.unused("dataset")
        more = f", and the results do not name its {shortly(unused)}" if unused else ""
        say(
            f"The file of datasets does not name {shortly(undescribed)}{more}"
            f"{'. If two names mean one dataset, add --rename OLD=NEW' if unused else ''}."
        )
    if (undescribed := read.undescribed("model")) and (unused := read.unused("model")):
        say(
            f"The file of models does not name {shortly(undescribed)}, and the results do not name its "
            f"{shortly(unused)}."
        )
    for what in ("model", "dataset"):
        if groups := read.alike(what):
            say(f"These are different {what}s, though a person may take them for one: {said_of_alike(groups)}.")


def _without_source(store: FeatureStore) -> list[str]:
    from queries.asking.database import Database

    with Database(store, gaps=(*SETS, *TABLES)) as database:  # another import may be about to come again
        found = database.run_file(Path(__file__).parents[1] / "runs" / "models_without_source.sql")
        return [str(name) for name in found["model"].to_pylist()]
