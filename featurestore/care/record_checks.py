"""Check the small files: records of the tables in `schema.TABLES`, and the files of no rows that give them types.

No manifest holds their digests: each carries its own, its seal (`featurestore.store.digests`). Of a file without one,
which an earlier version wrote, Parquet's own checksums of pages are checked; its footer has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.care.findings import RUN_AGAIN, Finding, error, unsigned
from featurestore.errors import DamagedFileError, StoreError
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
        advice = f"import it again (probestore import results FILE --origin {origin}), or delete it"
        return _findings(storage, path, schema.TABLES[table].schema, advice, "origin", origin)
    table, name = path.removesuffix(".parquet").split("/")
    record = schema.TABLES[table]
    return _findings(storage, path, record.schema, _advice(record, name), record.named_by, name)


def _advice(table: schema.Table, name: str) -> str:
    """Say how a damaged record is made again."""
    match table.needed_by:
        case "cell":
            return f"delete results/{name}.parquet and this file, and {RUN_AGAIN}: the cell is fitted again"
        case "features":
            return "delete it, and run probestore analyse"
    return f"delete it, and {RUN_AGAIN}"


def check_empty(storage: Storage, table: str) -> list[Finding]:
    """Check the file of no rows of a table."""
    path, wanted = layout.empty_path(table), schema.table(table).schema
    return _findings(storage, path, wanted, "copy it from another store")


def _findings(
    storage: Storage, path: str, wanted: pa.Schema, advice: str, named_by: str | None = None, name: str | None = None
) -> list[Finding]:
    try:
        content = storage.read_intact(path)
        rows = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
        rows.validate(full=True)
    except DamagedFileError:
        return [error(path, "its content is not what was written", advice)]
    except (StoreError, pa.ArrowException, OSError, UnicodeDecodeError) as broken:
        return [error(path, f"it cannot be read: {broken}", advice)]
    found = [error(path, problem, advice) for problem in _problems(rows, wanted, named_by, name)]
    return found if is_sealed(content) else [*found, unsigned(path)]


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
