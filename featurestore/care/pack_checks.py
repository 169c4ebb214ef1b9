"""Check packs: the seal, the list of records against the rows, and the rows against the names of their records."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.care.findings import MEND, NOT_WRITTEN_SO, Finding, error, unread
from featurestore.errors import DamagedFileError, MissingFileError, StoreError
from featurestore.store import layout, packs, schema
from featurestore.store.digests import digest, is_intact_footer
from featurestore.store.packs import Contents
from featurestore.store.storage import Storage

_ADVICE = f"{MEND}; then the studies that want its records make them again"


def check_pack(storage: Storage, path: str) -> list[Finding]:
    """Check one pack of records.

    Parameters
    ----------
    path : str
        As `layout.pack_path` gives it.
    """
    table = path.split("/")[0]
    try:
        content = storage.read_intact(path)
        with storage.parsing(path):
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            rows = file.read(use_threads=False)
            rows.validate(full=True)
            contents = packs.contents_of(storage, path, file.metadata)
    except DamagedFileError as problem:
        why = f"it cannot be read: {problem.__cause__}" if problem.__cause__ else NOT_WRITTEN_SO
        return [error(path, why, _ADVICE, remove=[path])]
    except MissingFileError:  # it was replaced meanwhile: another pack has its records
        return []
    except StoreError as problem:
        return [unread(path, problem)]
    advice = "use the version of probestore that wrote it"
    return [error(path, problem, advice) for problem in _problems(path, content, contents, rows, schema.TABLES[table])]


def _problems(path: str, content: pa.Buffer, contents: Contents, rows: pa.Table, table: schema.Table) -> Iterator[str]:
    footer = content.slice(len(content) - 8 - int.from_bytes(content[-8:].to_pybytes()[:4], "little"))
    if not is_intact_footer(footer, path):
        yield "the seal of its footer is another one"
    for _, start, end, expected in contents.groups:
        if digest(content.slice(start, end - start)) != expected:
            yield f"the bytes {start} to {end} are others than its list says"
    if sum(contents.rows) != len(rows) or sum(n_records for n_records, *_ in contents.groups) != len(contents.names):
        yield f"it lists {sum(contents.rows)} rows of {len(contents.names)} records, but has {len(rows)} rows"
        return
    names = rows.column(table.named_by).to_pylist()
    start = 0
    for name, n_rows in zip(contents.names, contents.rows, strict=True):
        if others := set(names[start : start + n_rows]) - {name}:
            yield f"it holds {table.named_by} {', '.join(map(repr, sorted(others)[:3]))} as the record {name!r}"
        start += n_rows
    for name in contents.names:
        layout.check_name("record", name)
