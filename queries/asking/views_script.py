"""One file that opens a store in the plain DuckDB command line: the tables and macros that `database` makes.

Nothing guards the store there: whoever starts DuckDB decides what it may read and write.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from featurestore import FeatureStore
from featurestore.errors import QueryError
from featurestore.plain_text import shell_command
from featurestore.store import schema
from queries.asking.checked_files import FEATURE_LIST
from queries.asking.database import IN_PLACE, older_tables, scripts
from queries.asking.places_in_sql import literal, patterns_in

_READ = re.compile(
    r"from (?P<read>read_parquet\(\s*getvariable\('(?P<table>\w+)_files'\),(?:[^()]|getvariable\('\w+'\))*\))"
)
_CREATE = re.compile(r"^create (?=table|view|macro)", flags=re.MULTILINE)

_HEADS = {
    "local": [],
    "s3": [
        "It is on S3, so DuckDB needs its extension httpfs and your credentials. Before this file, run for instance:",
        "    install httpfs; load httpfs; create secret (type s3, provider credential_chain);",
    ],
    "gs": [
        "It is on Google Cloud Storage, so DuckDB needs its extension httpfs and HMAC keys. Before this file, run:",
        "    install httpfs; load httpfs; create secret (type gcs, key_id '...', secret '...');",
    ],
}


def views_script(store: FeatureStore) -> str:
    """Return the SQL that makes a store's tables and macros.

    The script names the files that are committed now. Make it again to see newer ones.

    Parameters
    ----------
    store : FeatureStore

    Raises
    ------
    QueryError
        If the store is on a file system that the command line of DuckDB cannot read.
    """
    place = store.storage.place
    if place.kind not in _HEADS:
        raise QueryError(
            f"DuckDB's command line reads local folders, s3:// and gs://. This store is at {store.uri}. "
            "Ask it with `probestore sql`, which goes through the file system of the store."
        )
    if place.kind == "local" and (patterns := patterns_in(place.root)):
        raise QueryError(
            f"DuckDB's command line reads {' '.join(patterns)} in a path as patterns or as columns, and the store lies "
            f"at {place.root}. Make a link to it and name that: "
            f"{shell_command('ln', '-s', place.root, '/tmp/linked-store')} and --store /tmp/linked-store. "
            "`probestore sql` needs none."
        )
    files = {table: _files(store, table) for table in (*schema.SETS, *schema.TABLES)}
    # Here nobody waits for a table that few questions need.
    text = "\n".join(scripts()).replace("create table seen_images", "create view seen_images")
    older = older_tables(store)
    own = _READ.sub(lambda found: f"from {_relation(found['table'], found['read'], files, older)}", text)
    variables = [
        *map(_variable, files, files.values()),
        *(f"set variable older_{table} = {str(table in older).lower()};" for table in IN_PLACE),
        f"set variable store_uri = {literal(store.uri)};",
    ]
    return "\n".join([*_head(store), *variables, "", _CREATE.sub("create or replace ", own)])


def _head(store: FeatureStore) -> list[str]:
    lines = [
        f"The tables of the store {store.uri!r}, for DuckDB's command line:",
        "    duckdb -init views.sql          or, in a running one:  .read views.sql",
        f"Made by `probestore views` at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, from the files of that time.",
        "DuckDB looks at no checksums, so this reads a damaged file as it is: `probestore verify` finds those, and",
        "`probestore sql` and `probestore query` refuse them.",
        "The views find them in variables of the session, so a database on disk needs this file in every session.",
        *_HEADS[store.storage.place.kind],
    ]
    return [*(f"-- {line}" for line in lines), "", "set TimeZone = 'UTC';"]


def _files(store: FeatureStore, table: str) -> list[str]:
    """Return the committed files of a table.

    Of a table of records, the store's own file of no rows is left out: it may be older than the columns.
    """
    listed = store.listed(table)
    if table in schema.TABLES and store.partly_counting(table, listed):
        raise QueryError(
            f"DuckDB's command line cannot tell which rows of {table} count: some were written again since they were "
            f"packed. Pack them anew, and run the same command again: {store.storage.command('compact')}"
        )
    names = store.files(table)
    return names[1:] if table in schema.TABLES else names


def _variable(table: str, names: list[str]) -> str:
    return f"set variable {table}_files = [{', '.join(map(literal, names))}];"


def _relation(table: str, read: str, files: dict[str, list[str]], older: set[str]) -> str:
    """Return a relation with the rows of `read` and the columns of this version; typed and empty without files."""
    if table == FEATURE_LIST:
        return "(select unnest(getvariable('features_files')[2:]) as file, null::bigint as bytes)"
    small = table in schema.TABLES and schema.TABLES[table].gathered
    empty = _empty(_no_rows(table))
    if not files[table]:
        return f"({empty})"
    # The large tables are faster to read by themselves, and are where no file can lack a column.
    return f"({empty} union all by name from {read})" if small or table in older else read


def _no_rows(table: str) -> pa.Table:
    """Return no rows with all columns that are read of a table, also of paths; features are a list of any length."""
    columns = schema.table(table).schema
    fields = [
        field.with_type(pa.list_(field.type.value_type)) if pa.types.is_fixed_size_list(field.type) else field
        for field in columns
    ]
    carried = (*schema.SETS[table].partitions, "filename") if table in schema.SETS else ()
    return pa.schema([*fields, *(pa.field(name, pa.string()) for name in carried)]).empty_table()


def _empty(table: pa.Table) -> str:
    """Return a SELECT of no rows with the columns of `table`."""
    typed = duckdb.from_arrow(table)
    columns = (f'null::{kind} as "{name}"' for name, kind in zip(typed.columns, typed.types, strict=True))
    return f"select {', '.join(columns)} where false"
