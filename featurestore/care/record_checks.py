"""Check the small files: records of the tables in `schema.TABLES`, and the files of no rows that give them types.

No manifest holds their digests: each carries its own, its seal (`featurestore.store.digests`). Of a file without one,
which an earlier version wrote, Parquet's own checksums of pages are checked; its footer has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.care.findings import MEND, NOT_WRITTEN_SO, Finding, error, gone, unread, unsigned
from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.store import layout, schema
from featurestore.store.digests import is_sealed
from featurestore.store.storage import Storage


def check_record(storage: Storage, path: str) -> list[Finding]:
    """Check one record file.

    Parameters
    ----------
    path : str
        ``<table>/<name>.parquet``, or that of the rows of an import.
    """
    if imported := layout.parse_import(path):
        table, origin = imported
        advice = f"{MEND}; then import {origin} again"
        return _findings(storage, path, schema.TABLES[table].schema, advice, "origin", origin)
    table, name = path.removesuffix(".parquet").split("/")
    record = schema.TABLES[table]
    return _findings(storage, path, record.schema, _advice(record), record.named_by, name)


def _advice(table: schema.Table) -> str:
    """Say how a damaged record is made again."""
    match table.needed_by:
        case "cell":
            return f"{MEND}, and the results of the cell: it is fitted again"
        case "features":
            return f"{MEND}; then probestore analyse makes it again"
        case "set":
            return f"{MEND}; nothing is lost: a run that wants the set looks for its files"
    return f"{MEND}; then the study writes it again"


def _to_remove(path: str) -> tuple[str, ...]:
    """Return the files that go with a damaged record: results, which say that their cell is done, go first."""
    table, _, name = path.partition("/")
    needed_by_cell = schema.TABLES[table].needed_by == "cell" and not layout.parse_import(path)
    return (f"results/{name}", path) if needed_by_cell and table != "results" else (path,)


def check_empty(storage: Storage, table: str) -> list[Finding]:
    """Check the file of no rows of a table."""
    path, wanted = layout.empty_path(table), schema.table(table).schema
    return _findings(storage, path, wanted, "verify --mend writes it again")


def _findings(
    storage: Storage, path: str, wanted: pa.Schema, advice: str, named_by: str | None = None, name: str | None = None
) -> list[Finding]:
    remove = _to_remove(path) if named_by else (path,)
    try:
        content = storage.read_intact(path)
        with storage.parsing(path):
            rows = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
            rows.validate(full=True)
    except DamagedFileError as problem:
        why = f"it cannot be read: {problem.__cause__}" if problem.__cause__ else NOT_WRITTEN_SO
        return [error(path, why, advice, remove=remove)]
    except MissingFileError:
        return [gone(path, "the file is missing", advice)]
    except StoreError as problem:
        return [unread(path, problem)]
    sealed = is_sealed(content)
    if sealed:  # it is what was written, by whatever version
        advice, remove = "use the version of probestore that wrote it", ()
    found = [error(path, problem, advice, remove=remove) for problem in _problems(rows, wanted, named_by, name)]
    return found if sealed else [*found, unsigned(path)]


def _problems(rows: pa.Table, wanted: pa.Schema, named_by: str | None, name: str | None) -> Iterator[str]:
    yield from _schema_problems(rows.schema, wanted)
    if named_by is None:
        if len(rows):
            yield f"it must have no rows, but has {len(rows)}"
    elif named_by in rows.column_names:
        others = pc.unique(rows.column(named_by)).to_pylist()
        if others not in ([], [name]):
            yield f"it holds {named_by} {', '.join(map(repr, others[:3]))}, not {name!r}"


def _schema_problems(found: pa.Schema, wanted: pa.Schema) -> Iterator[str]:
    """Yield each column of a file that its table does not know, or knows as another type; newer ones may be absent."""
    for field in found:
        if field.name not in wanted.names:
            yield f"the column {field.name} is not known"
        elif field.type != wanted.field(field.name).type:
            yield f"the column {field.name} is {field.type}, not {wanted.field(field.name).type}"
