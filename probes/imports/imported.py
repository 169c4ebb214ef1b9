"""Import CSV files into a store: results made elsewhere, and facts about their models and datasets.

A store keeps the rows of an import in one file per table, which is named after the import (its origin). Importing the
same files again changes nothing; importing other files under the same name replaces the rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore import FeatureStore
from featurestore.errors import ConfigurationError, UnknownNameError
from featurestore.images.class_names import alike
from featurestore.plain_text import counted
from featurestore.store import schema
from featurestore.store.feature_store import rows_table
from featurestore.store.layout import check_name, content_key
from probes import metrics
from probes.imports import imported_columns
from probes.imports.csv_rows import Row, read_rows, refuse_repeated
from probes.imports.imported_columns import Results

_WIDER = 10  # times the widest error that test images alone can make: draws of training images and seeds add some
_GRAIN = ("model", "dataset", "setting", "tap", "probe", "n_per_class", "seed", "train_steps")
_OF_THE_IMPORT = ("created_at", "recorded_at", "versions")  # when and by which program, not what the files say


@dataclass(frozen=True)
class Import:
    """The checked rows of the files of one import.

    Attributes
    ----------
    origin : str
        Name of the import.
    results, models, datasets : tuple of Row
        The rows of each file. `models` and `datasets` are empty if there is no such file.
    """

    origin: str
    results: tuple[Row, ...]
    models: tuple[Row, ...] = ()
    datasets: tuple[Row, ...] = ()

    def names(self, what: str) -> list[str]:
        """Return the different values of one column of the results, such as "dataset", sorted."""
        return sorted({row.values[what] for row in self.results})

    def undescribed(self, what: str) -> list[str]:
        """Return the models, or datasets, of the results that their own file lacks; none if there is no such file."""
        described = self._described(what)
        return [name for name in self.names(what) if described and name not in described]

    def unused(self, what: str) -> list[str]:
        """Return the models, or datasets, of their own file for which there are no results."""
        return sorted(self._described(what) - set(self.names(what)))

    def alike(self, what: str) -> list[list[str]]:
        """Return groups of names of models, or datasets, of any file that a person would take for one."""
        return alike(sorted({*self.names(what), *self._described(what)}))

    def defaults(self) -> dict[str, Any]:
        """Return the columns of the results that some lines have no value of, and the value that is taken there."""
        taken = ("probe", "tap", "seed")
        return {name: Results.model_fields[name].default for name in taken if not self._all_give(name)}

    def without_error(self) -> dict[str, int]:
        """Return the metrics, and how many results of them, of which the standard error is not known."""
        found = Counter(row.values["metric"] for row in self.results if _standard_error(row.values) is None)
        return dict(sorted(found.items()))

    def _described(self, what: str) -> set[str]:
        rows = {"model": self.models, "dataset": self.datasets}[what]
        return {row.values[what] for row in rows}

    def _all_give(self, name: str) -> bool:
        return all(name in row.given for row in self.results)

    def source_metrics(self) -> list[str]:
        """Return the names of the source metrics that the file of models gives in columns of its own."""
        return sorted({name for row in self.models for name in row.others})


def read_import(
    results: Path,
    *,
    models: Path | None = None,
    datasets: Path | None = None,
    origin: str | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Import:
    """Read and check the files of an import; no store is needed.

    `probes.imports.imported_columns` describes the columns of the files.

    Parameters
    ----------
    results : Path
    models, datasets : Path, optional
    origin : str, optional
        Name of the import. The default is the name of the file of results without its suffix.
    renamed : mapping of str to str, optional
        Name of a dataset in the files -> its name in the store.

    Raises
    ------
    ConfigurationError
        If something in the files is wrong; the message names the file, the line and the column of the first error.
    UnknownNameError
        If `renamed` names a dataset that is in none of the files.
    """
    found = Import(
        _name(results.stem if origin is None else origin),
        tuple(read_rows(results, imported_columns.Results)),
        tuple(read_rows(models, imported_columns.Models)) if models else (),
        tuple(read_rows(datasets, imported_columns.Datasets)) if datasets else (),
    )
    found = _with_names(found, renamed or {})
    for row in found.results:
        _check_value(row)
    refuse_repeated(found.results, (*_GRAIN, "metric"), "the same metric of the same cell,")
    refuse_repeated(found.models, ("model",), "the same model,")
    refuse_repeated(found.datasets, ("dataset",), "the same dataset,")
    return found


def check(imported: Import, store: FeatureStore | None = None) -> None:
    """Check that the results can be compared with those of the store; `add` checks this too.

    Parameters
    ----------
    imported : Import
    store : FeatureStore, optional
        None if the store does not exist yet.

    Raises
    ------
    ConfigurationError
        If the store or the import names the metric of a dataset and the results have no value of that metric.
    StoreError
        If the store cannot be read.
    """
    _headlines(imported.results, _known_metrics(store, imported))


def add(store: FeatureStore, imported: Import, *, command: str) -> list[str]:
    """Write an import into a store. It replaces an earlier import of the same name.

    Without a new file of models or datasets, the rows of the earlier import stay in that table. The command is written
    last, after all that it brought.

    Parameters
    ----------
    store : FeatureStore
    imported : Import
    command : str
        What brings the same rows again, as it is typed into a shell, without the store.

    Returns
    -------
    list of str
        The tables that have changed.

    Raises
    ------
    ConfigurationError
        If the store or the import names the metric of a dataset and the results have no value of that metric. Nothing
        is written then.
    StoreError
        If the store cannot be read or written.
    """
    headlines = _headlines(imported.results, _known_metrics(store, imported))
    now = datetime.now(UTC)
    made = {"versions": json.dumps({"probestore": version("probestore")}), "created_at": now}
    tables: dict[str, list[dict[str, Any]]] = {
        "models": [_known_row(row, imported.origin, now) for row in imported.models],
        "datasets": [_known_row(row, imported.origin, now) for row in imported.datasets],
        "results": [{**_result_row(row, imported.origin, headlines), **made} for row in imported.results],
    }
    brought = [table for table, rows in tables.items() if rows]
    changed = [table for table in brought if _publish(store, table, imported.origin, tables[table])]
    _keep_command(store, imported.origin, brought, command, now)
    return changed


def _name(origin: str) -> str:
    try:
        return check_name("results import", origin)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} Give the import another name with --origin.") from error


def _with_names(imported: Import, renamed: Mapping[str, str]) -> Import:
    """Return the import with datasets renamed."""
    known = {row.values["dataset"] for row in (*imported.results, *imported.datasets)}
    for old in renamed:
        if old not in known:
            raise UnknownNameError("dataset", old, known, "Rename only datasets that the imported files name.")

    def named(rows: Sequence[Row]) -> tuple[Row, ...]:
        names = ((row, row.values["dataset"]) for row in rows)
        return tuple(replace(row, values={**row.values, "dataset": renamed.get(name, name)}) for row, name in names)

    return replace(imported, results=named(imported.results), datasets=named(imported.datasets))


def _check_value(row: Row) -> None:
    metric, value = metrics.by_name(row.values["metric"]), row.values["value"]
    if metric.name == "nll" and value < 0:
        raise row.error("value", f"nll must not be negative. Got {value}.")
    if metric.name != "nll" and not 0 <= value <= 1:
        raise row.error("value", f"{metric.name} must be a fraction between 0 and 1 (0.751, not 75.1). Got {value}.")
    _check_error(row, metric)


def _check_error(row: Row, metric: metrics.Metric) -> None:
    """Refuse a standard error in percent, or of something else than the value."""
    error, n_test = row.values["standard_error"], row.values["n_test"]
    widest = metric.error_of(0.5, n_test)
    if metric.name != "nll" and error is not None and error > min(0.5, _WIDER * (widest or 0.5)):
        of_images = f"; {counted(n_test, 'test image')} make it {widest:.2g} at most" if widest else ""
        raise row.error(
            "standard_error", f"must be a fraction, as the value is (0.0052, not 0.52){of_images}. Got {error}."
        )


# ---- which metric is the dataset's own -------------------------------------------------------------------------------


def _known_metrics(store: FeatureStore | None, imported: Import) -> dict[str, str]:
    """Dataset -> its metric, where one is named: by a study of the store, else by the import, else by other imports."""
    own = [row.values for row in imported.datasets]
    rows = own if store is None else [*_earlier(store, imported), *own, *_studied(store, imported)]
    return {row["dataset"]: row["metric"] for row in rows if row["metric"]}


def _earlier(store: FeatureStore, imported: Import) -> Iterator[Mapping[str, Any]]:
    """Yield the headline results of other imports, then the rows of their files of datasets."""
    for origin in sorted(store.origins("results") - {imported.origin}):
        yield from (row for row in store.read_import("results", origin).to_pylist() if row["headline"])
    for origin in sorted(store.origins("datasets") - ({imported.origin} if imported.datasets else set())):
        yield from store.read_import("datasets", origin).to_pylist()


def _studied(store: FeatureStore, imported: Import) -> Iterator[Mapping[str, Any]]:
    """Yield the rows that studies recorded of the datasets of the results."""
    for name in sorted(store.names("datasets") & set(imported.names("dataset"))):
        yield from store.read_record("datasets", name, columns=["dataset", "metric"]).to_pylist()


def _headlines(results: Sequence[Row], known: Mapping[str, str]) -> dict[str, str]:
    """Dataset -> the metric that models are compared by; no entry if the results have only losses and errors for it."""
    of_dataset: dict[str, list[Row]] = defaultdict(list)
    for row in results:
        of_dataset[row.values["dataset"]].append(row)
    found = {dataset: _headline(dataset, rows, known.get(dataset)) for dataset, rows in of_dataset.items()}
    return {dataset: metric for dataset, metric in found.items() if metric}


def _headline(dataset: str, rows: Sequence[Row], known: str | None) -> str | None:
    given = sorted({row.values["metric"] for row in rows})
    usable = [name for name in given if metrics.by_name(name).higher_is_better]
    first = rows[0]
    if known is not None and known not in given and usable:
        raise first.error(
            "metric",
            f"{dataset!r} is known with the metric {known}, which the file must give for it, because averages over "
            f"models need one metric. Got {', '.join(given)}. Add that metric, or rename the dataset with --rename.",
        )
    if known is None and len(usable) > 1:
        raise first.error(
            "metric",
            f"{dataset!r} has several metrics here ({', '.join(usable)}), and no file says by which one to compare "
            "models. Name it in a file with the columns dataset and metric, and pass that file with --datasets.",
        )
    return known if known is not None else next(iter(usable), None)


# ---- rows ------------------------------------------------------------------------------------------------------------


def _known_row(row: Row, origin: str, now: datetime) -> dict[str, Any]:
    """Make a row of the table `models` or `datasets`."""
    own = {"source_metrics": row.others} if row.others else {}
    return {**row.values, **own, "origin": origin, "recorded_at": now}


def _result_row(row: Row, origin: str, headlines: Mapping[str, str]) -> dict[str, Any]:
    values = row.values
    grain = {name: values[name] for name in _GRAIN}
    return {
        **values,
        "cell": content_key({"table": "results", "origin": origin, **grain}),
        "solver": "",
        "headline": headlines.get(values["dataset"]) == values["metric"],
        "origin": origin,
        "standard_error": _standard_error(values),
    }


def _standard_error(values: Mapping[str, Any]) -> float | None:
    """Return the standard error of the file, else that of the metric; None if the file has too little to know it."""
    said: float | None = values["standard_error"]
    return metrics.by_name(values["metric"]).error_of(values["value"], values["n_test"]) if said is None else said


def _publish(store: FeatureStore, table: str, origin: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Publish the rows unless the table has the same rows already; return whether they were published."""
    new = rows_table(table, rows)
    said = [name for name in schema.TABLES[table].schema.names if name not in _OF_THE_IMPORT]
    if origin in store.origins(table) and _same(store.read_import(table, origin).select(said), new.select(said)):
        return False
    store.publish_import(table, origin, new)
    return True


def _keep_command(store: FeatureStore, origin: str, tables: Sequence[str], command: str, now: datetime) -> None:
    """Record which command brought the rows of these tables, unless the store says so already."""
    known = store.has_record("imports", origin)
    before = {row["added_to"]: row for row in store.read_record("imports", origin).to_pylist()} if known else {}
    if all(table in before and before[table]["command"] == command for table in tables):
        return
    own = {"origin": origin, "command": command, "imported_at": now}
    after = before | {table: {**own, "added_to": table} for table in tables}
    store.publish("imports", origin, rows_table("imports", after.values()))


def _same(one: pa.Table, other: pa.Table) -> bool:
    return bool(one.to_pylist() == other.to_pylist())
