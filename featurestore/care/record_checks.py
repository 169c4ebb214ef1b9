"""Check the small files: records of the tables in `schema.TABLES`, and the files of no rows that give them types.

No manifest holds their checksums. The pages of a Parquet file have their own, and the rest of it (footer and page
headers) is compared with what this version of Parquet would write of the same rows, where it is the version that wrote
the file. A file of another version, of another program, or of an earlier probestore is only read and looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.care.findings import RUN_AGAIN, Finding, error
from featurestore.errors import StoreError
from featurestore.store import commit, layout, schema
from featurestore.store.storage import Storage

_WRITTEN_BY = pq.read_metadata(pa.BufferReader(commit.encode_table(pa.table({"a": [0]})))).created_by


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
        problems = _problems(storage, path, schema.TABLES[table].schema, "origin", origin)
        return [error(path, problem, advice) for problem in problems]
    table, name = path.removesuffix(".parquet").split("/")
    record = schema.TABLES[table]
    problems = _problems(storage, path, record.schema, record.named_by, name)
    return [error(path, problem, _advice(record, name)) for problem in problems]


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
    return [error(path, problem, "copy it from another store") for problem in _problems(storage, path, wanted)]


def _problems(
    storage: Storage, path: str, wanted: pa.Schema, named_by: str | None = None, name: str | None = None
) -> Iterator[str]:
    try:
        content = storage.read_buffer(path)
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        rows = file.read(use_threads=False)
        rows.validate(full=True)
        comparable = file.metadata.created_by == _WRITTEN_BY and rows.schema.metadata == commit.RECORD_MARK
        altered = comparable and not _encoded_again(rows).equals(content)
    except (StoreError, pa.ArrowException, OSError, UnicodeDecodeError) as broken:
        yield f"it cannot be read: {broken}"
        return
    if altered:
        yield "its content is not what was written"
        return
    yield from _schema_problems(rows.schema, wanted)
    if named_by is None:
        if len(rows):
            yield f"it must have no rows, but has {len(rows)}"
    elif named_by in rows.column_names:
        others = pc.unique(rows.column(named_by)).to_pylist()
        if others not in ([], [name]):
            yield f"it holds {named_by} {', '.join(map(repr, others[:3]))}, not {name!r}"


def _encoded_again(rows: pa.Table) -> pa.Buffer:
    """Return the bytes that this version writes of these rows."""
    types = [field.with_type(_as_written(field.type)) for field in rows.schema]
    return commit.encode_table(rows.cast(pa.schema(types, metadata=rows.schema.metadata)))


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Return the type as it was written: Parquet renames the elements of lists and maps, and Arrow keeps that."""
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, kind.item_type)
    return pa.list_(kind.value_type) if pa.types.is_list(kind) else kind


def _schema_problems(found: pa.Schema, wanted: pa.Schema) -> Iterator[str]:
    """Yield each column of a file that its table does not know, or knows as another type; newer ones may be absent."""
    for field in found:
        if field.name not in wanted.names:
            yield f"the column {field.name} is not known"
        elif field.type != wanted.field(field.name).type:
            yield f"the column {field.name} is {field.type}, not {wanted.field(field.name).type}"
