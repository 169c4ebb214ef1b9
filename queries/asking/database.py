"""Database: the tables of a store as SQL, read-only and confined to it.

DuckDB runs in memory over the committed Parquet files, which `queries.asking.checked_files` opens for it. Three fences
keep a query harmless, each of which would do alone against most mistakes: nothing is opened but committed files of the
tables, and the configuration is locked; only a single SELECT is run; and table functions are those on a list, because
some of DuckDB's (``enable_logging``) write.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from featurestore import FeatureStore
from featurestore.errors import QueryError, did_you_mean
from featurestore.machine import available_cpus
from featurestore.store import schema
from featurestore.store.storage_options import Options
from queries.asking import questions
from queries.asking.asked_sets import REACHING, Macro, Tree, asked_sets
from queries.asking.checked_files import FEATURE_LIST, SCHEME, CheckedFiles, pattern
from queries.asking.interruptible import interruptible
from queries.asking.limits import NO_LIMITS, Limits
from queries.asking.places_in_sql import literal, plain_temporary_folder
from queries.asking.questions import Parameter, Question
from queries.asking.table_files import Asked, TableFiles, is_read_at_once

SCRIPTS = (
    "views.sql",
    "macros.sql",
    "tests.sql",
    "correlation.sql",
    "health.sql",
    "training.sql",
    "images.sql",
    "settings.sql",
    "costs.sql",
    "sentences.sql",
    "sanity.sql",
    "sanity_images.sql",
)
"""Files that make tables and macros, in the order in which they need one another."""

LATE_SCRIPTS = ("sanity.sql", "sanity_images.sql")
"""Those of SCRIPTS that are run when one of their macros is first called, because few questions need them."""

SHARED = Path(__file__).parents[1] / "shared"
"""Folder of SCRIPTS."""

_TABLE_FUNCTIONS = {
    "duckdb_columns", "duckdb_functions", "duckdb_tables", "duckdb_views", "generate_series", "histogram",
    "histogram_values", "json_each", "json_tree", "parquet_file_metadata", "parquet_kv_metadata", "parquet_metadata",
    "parquet_schema", "range", "read_parquet", "repeat", "unnest",
}  # fmt: skip


_ONE_SELECT = "the SQL must be one SELECT, because a store is read-only."
_MACRO = re.compile(r"^create macro (\w+)\(([^)]*)\) as( table)?\b(.*?);$", flags=re.MULTILINE | re.DOTALL)


class Database:
    """SQL over a store. Close it, or use it in a ``with`` statement.

    It shows the store as it was when the `Database` was made; image tables and predictions as they were when a query
    first named them.

    Parameters
    ----------
    store : FeatureStore
    limits : Limits, optional
        Limits of every query; by default there are none.
    gaps : collection of str
        Tables of which files that were made and are gone are passed over, for those who are about to make them again.

    Raises
    ------
    QueryError
        If the store's tables cannot be read.
    StoreError
        If a file of a table that is read at once is damaged or gone; of the other tables, queries say so. If the store
        cannot be listed.
    """

    def __init__(self, store: FeatureStore, *, limits: Limits = NO_LIMITS, gaps: Collection[str] = ()) -> None:
        self.uri = store.uri
        self._limits = limits
        self._to_run = list(LATE_SCRIPTS)
        temporary = plain_temporary_folder()
        self._one = threading.RLock()  # what is asked of image tables is that of one query
        self._macros: dict[str, Macro] = {}
        self._tables = TableFiles(store, gaps)
        self._files = CheckedFiles(store, self._tables)
        self._connection = duckdb.connect(":memory:", config=_config(temporary))
        self._connection.register_filesystem(self._files)
        self._empty = tempfile.TemporaryDirectory(prefix="probestore-", dir=temporary, ignore_cleanup_errors=True)
        try:
            limits.set_up(self._connection)
            _prepare(self._connection, self._tables, store, Path(self._empty.name))
            self._files.typing = False
        except BaseException as error:
            self.close()
            if not isinstance(error, duckdb.Error):
                raise
            if self._files.failure:
                raise self._files.failure from error
            raise QueryError(f"The tables of {store.uri} cannot be read: {error}") from error

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release DuckDB's memory and remove the temporary files."""
        self._connection.close()
        self._empty.cleanup()

    def query(self, name: str, /, **parameters: object) -> pa.Table:
        """Answer a question that comes with probestore.

        Parameters
        ----------
        name : str
            One of `queries.names()`.
        **parameters
            Values for the parameters in its header; text is converted to their types.

        Raises
        ------
        UnknownNameError
            If there is no such question.
        QueryError
            If a parameter is unknown or has the wrong type, or the SQL fails.
        """
        return self._ask(questions.describe(name), parameters)

    def run_file(self, path: str | Path, /, **parameters: object) -> pa.Table:
        """Run a user's .sql file, which may have the header of `queries.asking.questions`.

        Parameters
        ----------
        path : str or Path
        **parameters
            Values for the parameters in its header, and for those it uses (``$name``) without naming them there.

        Raises
        ------
        QueryError
            If the file cannot be read, is not a single SELECT, reaches outside the store, or fails; or if a parameter
            is missing, unknown or has the wrong type.
        """
        return self._ask(questions.read(Path(path)), parameters)

    def run_text(self, text: str, /, **parameters: object) -> pa.Table:
        """Run SQL that may have the header of `queries.asking.questions`, as `run_file` does.

        Parameters
        ----------
        text : str
        **parameters
            As for `run_file`.

        Raises
        ------
        QueryError
            As for `run_file`.
        """
        return self._ask(questions.parse(text, Path("SQL")), parameters)

    def sql(self, text: str) -> pa.Table:
        """Run one SELECT.

        Raises
        ------
        QueryError
            If the text is anything else, reaches outside the store, or fails.
        """
        return self._run(self._checked(text, "SQL"), {}, "SQL")

    def count_files(self, table: str) -> int:
        """Return how many files a table has; they are listed, and not opened.

        Raises
        ------
        StoreError
            If the store cannot be listed.
        """
        return len(self._tables.names(table))

    def _ask(self, question: Question, given: dict[str, object]) -> pa.Table:
        checked = self._checked(question.sql, str(question.path))
        wanted = checked.statement.named_parameters
        declared = {parameter.name: parameter for parameter in question.parameters}
        undeclared = wanted - set(declared)
        _check_names(question, given, known=set(declared) | undeclared, required=undeclared)
        for name, value in given.items():
            if isinstance(value, str):
                _check_text(value, f"{question.path}, parameter {name}")
        values = {
            name: self._value(question, declared[name], given) if name in declared else given[name] for name in wanted
        }
        return self._run(checked, values, str(question.path))

    def _value(self, question: Question, parameter: Parameter, given: dict[str, object]) -> object:
        """Return the given value as the type of the parameter's default, or that default where none was given."""
        place = f"{question.path}, parameter {parameter.name}"
        default = f"select value, typeof(value) as kind from (select ({parameter.default}) as value)"
        (row,) = self._run(self._checked(default, place), {}, place).to_pylist()
        if parameter.name not in given:
            return row["value"]
        kind = row["kind"]
        value = given[parameter.name]
        if kind != "VARCHAR" and isinstance(value, str) and value.lower() in ("", "null", "none"):
            return None
        try:
            return self._connection.execute(f"select cast($value as {kind})", {"value": value}).fetchall()[0][0]
        except duckdb.Error as error:
            raise QueryError(
                f"Parameter {parameter.name!r} of {question.name} must be {kind} ({parameter.meaning}). Got {value!r}."
            ) from error

    def _run(self, checked: _Checked, values: dict[str, object], place: str) -> pa.Table:
        def work() -> pa.Table:
            return self._limits.collect(self._connection.execute(checked.text, values))

        with (
            self._one,
            self._asking(asked_sets(checked.tree, values, self._macro), place),
            self._limits.clock(self._connection),
        ):
            return interruptible(self._connection, work)

    @contextmanager
    def _asking(self, asked: Mapping[str, Asked], place: str) -> Iterator[None]:
        """List of tables what is asked of them, in the block, and let its errors say where and why."""
        self._files.begin(asked)
        try:
            yield
        except (duckdb.Error, OSError) as error:
            if self._files.failure:
                raise self._files.failure from error
            raise QueryError(_located(error, place)) from error
        finally:
            self._files.asked = {}

    def _checked(self, text: str, place: str) -> _Checked:
        """Return the only statement of `text` if it is a SELECT that calls nothing but allowed table functions."""
        _check_text(text, place)
        try:
            statements = duckdb.extract_statements(text)
        except duckdb.Error as error:
            raise QueryError(_located(error, place)) from error
        kinds = [statement.type.name for statement in statements]
        if kinds != ["SELECT"]:
            raise QueryError(f"{place}: {_ONE_SELECT} Got {' and '.join(kinds) or 'nothing'}.")
        try:
            with self._one, self._asking({}, place):
                tree = self._tree(text)
                self._check_functions(tree, place)
        except RecursionError as error:
            raise QueryError(
                f"{place}: the SQL is nested too deeply to be checked, as a sum of many hundred terms is. "
                "Put the terms into a list, as in list_sum([...]), or sum() them over values."
            ) from error
        return _Checked(text, statements[0], tree)

    def _tree(self, text: str) -> Tree:
        found = self._connection.execute("select json_serialize_sql($text)", {"text": text}).fetchall()[0][0]
        return json.loads(found)

    def _macro(self, name: str) -> Macro | None:
        """Return a macro of ours that reaches an image table."""
        if name not in reaching_macros():
            return None
        if name not in self._macros:
            parameters, select = reaching_macros()[name]
            self._macros[name] = Macro(parameters, self._tree(select))
        return self._macros[name]

    def _run_late_scripts(self, called: set[str]) -> None:
        """Run the late scripts up to the last one whose macros are called."""
        needed = [script for script in self._to_run if not _table_macros(script).isdisjoint(called)]
        while needed and needed[-1] in self._to_run:
            with self._limits.clock(self._connection):
                self._connection.execute(_text(self._to_run[0]))
            self._to_run.pop(0)

    def _check_functions(self, tree: dict[str, Any], place: str) -> None:
        if tree["error"]:  # PRAGMA counts as SELECT to extract_statements, but has no tree
            raise QueryError(
                f"{place}: the SQL must be one SELECT, because a store is read-only. {tree['error_message']}"
            )
        called = list(_called_table_functions(tree))
        for name in called:
            if name.lower() not in _TABLE_FUNCTIONS | _own_table_macros():
                raise QueryError(
                    f"{place}: the table function {name} is not available here. "
                    f"Query the tables themselves ({', '.join(sorted(_tables()))}), or use one of: "
                    f"{', '.join(sorted(_TABLE_FUNCTIONS))}."
                )
        self._run_late_scripts({name.lower() for name in called})


@dataclass(frozen=True)
class _Checked:
    """A SELECT that may be run: its text, and what that says."""

    text: str
    statement: duckdb.Statement
    tree: Tree


def check_engine() -> None:
    """Check that SQL can be asked on this machine, so that nobody learns at the end of a run that it cannot.

    Raises
    ------
    QueryError
        If DuckDB does not start here.
    """
    try:
        duckdb.connect(":memory:", config=_config(plain_temporary_folder())).execute("select 1").fetchall()
    except (duckdb.Error, OSError) as error:
        raise QueryError(f"DuckDB must start here, for the end of the run, and does not: {error}") from error


def connect(uri: str, *, storage_options: Options | None = None, limits: Limits = NO_LIMITS) -> Database:
    """Open the store at `uri` for SQL.

    Parameters
    ----------
    uri : str
    storage_options : mapping of str to str, optional
        See `featurestore.store.places.open_place`.
    limits : Limits, optional
        Limits of every query; by default there are none.

    Raises
    ------
    StoreError
        If there is no store.
    QueryError
        If its tables cannot be read.
    """
    return Database(FeatureStore.open(uri, storage_options=storage_options), limits=limits)


def _config(temporary: str) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": available_cpus(),  # DuckDB itself overlooks that a process may be kept to some cores
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,  # a table name must never find a Python variable
        # Made by DuckDB when a query does not fit in memory, and removed by it; the default is ./.tmp
        "temp_directory": str(Path(temporary) / f"probestore-{uuid.uuid4().hex}"),
    }


def _tables() -> set[str]:
    return {*schema.SETS, *schema.TABLES}


def _prepare(connection: duckdb.DuckDBPyConnection, tables: TableFiles, store: FeatureStore, folder: Path) -> None:
    """Make macros and views, then forbid access to other files and lock the configuration."""
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set enable_progress_bar = false")  # it would be printed between the lines of an answer
    gathered = _gathered(store, tables, folder)
    for table in (*_tables(), FEATURE_LIST):
        names = [gathered.get(table, pattern(table))]
        connection.execute(f"set variable {table}_files = $names", {"names": names})
    connection.execute("set variable store_uri = $uri", {"uri": store.uri})
    older = older_tables(store)
    for table in IN_PLACE:
        connection.execute(f"set variable older_{table} = {table in older}")
    connection.execute(f"set allowed_paths = [{', '.join(map(literal, gathered.values()))}]")
    connection.execute(f"set allowed_directories = ['{SCHEME}://']")
    connection.execute("set enable_external_access = false")
    for script in SCRIPTS:
        if script not in LATE_SCRIPTS:
            connection.execute(_as_views(gathered, _text(script)))
    connection.execute("set lock_configuration = true")


def _as_views(gathered: Collection[str], text: str) -> str:
    """Return a script that leaves `results`, the largest table, in its file where that is one: it has many columns."""
    return text.replace("create table stored_results", "create view stored_results") if "results" in gathered else text


def _gathered(store: FeatureStore, tables: TableFiles, folder: Path) -> dict[str, str]:
    """Return table -> the file in which this node keeps all rows of a table that is read at once.

    It gets a name of its own, in `folder`.
    """
    found = {
        table: store.gathered_file(table, folder, listed=tables.listed[table])
        for table in schema.TABLES
        if is_read_at_once(table)
    }
    return {
        table: str(path if path.parent == folder else _own_name(path, folder)) for table, path in found.items() if path
    }


IN_PLACE = (*schema.SETS, *(name for name, table in schema.TABLES.items() if not table.gathered))
"""Tables whose files stay on disk, where a query reads of them what it needs."""


def older_tables(store: FeatureStore) -> set[str]:
    """Return those of `IN_PLACE` with files that may lack columns, because the store is older than these columns.

    DuckDB then has to open all of the table's files before it can say what columns a view has.
    """
    with ThreadPoolExecutor(len(IN_PLACE)) as pool:  # an object store takes its time for each
        return {table for table, older in zip(IN_PLACE, pool.map(store.lacks_columns, IN_PLACE), strict=True) if older}


def _own_name(path: Path, folder: Path) -> Path:
    """Return the file under a name of its own, so that another process cannot replace it."""
    own = folder / path.name
    try:
        own.hardlink_to(path)
    except OSError:  # on another disk
        shutil.copyfile(path, own)
    return own


def scripts() -> tuple[str, ...]:
    """Return the text of every file of SCRIPTS."""
    return tuple(map(_text, SCRIPTS))


@cache
def _text(script: str) -> str:
    return (SHARED / script).read_text(encoding="utf-8")


@cache
def _table_macros(script: str) -> frozenset[str]:
    """Return the names of the table macros that a script makes."""
    return frozenset(found[1] for found in _MACRO.finditer(_text(script)) if found[3])


@cache
def reaching_macros() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the macros of our scripts that reach an image table: name -> (names of parameters, SELECT)."""
    macros = {found[1]: found for script in SCRIPTS for found in _MACRO.finditer(_text(script))}
    words = {name: set(re.findall(r"\w+", re.sub(r"--.*|'[^']*'", "", found[4]))) for name, found in macros.items()}
    reaching = set(REACHING)
    while more := {name for name in macros if not words[name].isdisjoint(reaching)} - reaching:
        reaching |= more
    return {
        name: (tuple(re.findall(r"(\w+)(?: *:=[^,]*)?", found[2])), found[4])
        for name, found in macros.items()
        if name in reaching
    }


@cache
def _own_table_macros() -> frozenset[str]:
    """Return the names of the table macros of our scripts. DuckDB would take longer to list all that it has."""
    return frozenset().union(*map(_table_macros, SCRIPTS))


def _called_table_functions(tree: object) -> Iterator[str]:
    """Return the names of the table functions anywhere in a serialised SELECT."""
    if isinstance(tree, dict):
        if tree.get("type") == "TABLE_FUNCTION":
            yield tree["function"]["function_name"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _called_table_functions(branch)


def _check_text(text: str, place: str) -> None:
    """Refuse half a character: a command line or JSON may bring text that DuckDB cannot be given."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryError(
            f"{place}: the text must consist of whole characters. Got {text[error.start]!r} at position {error.start}. "
            "Write it as UTF-8."
        ) from error


def _check_names(question: Question, given: Iterable[str], known: set[str], required: set[str]) -> None:
    listed = f"Its parameters: {', '.join(sorted(known)) or 'none'}."
    for name in given:
        if name not in known:
            raise QueryError(f"{question.name} has no parameter {name!r}.{did_you_mean(name, known)} {listed}")
    missing = required - set(given)
    if missing:
        raise QueryError(f"{question.name} needs a value for: {', '.join(sorted(missing))}. {listed}")


def _located(error: Exception, place: str) -> str:
    """Return DuckDB's message with the file and line in front."""
    message = str(error)
    line = re.search(r"^LINE (\d+):", message, flags=re.MULTILINE)
    column = re.search(r'^Binder Error: Referenced column "([^"]+)" not found', message)
    if column and f'"{column[1]}"' in message[column.end() :]:
        message += f"\nIn SQL, double quotes are for names of columns. Text has single ones: '{column[1]}'."
    return f"{place}:{line[1]}: {message}" if line else f"{place}: {message}"
