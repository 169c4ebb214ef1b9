"""Small Parquet files of images for tests of sources."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(value: int) -> bytes:
    """A grey image of one value."""
    buffer = io.BytesIO()
    Image.new("L", (5, 4), value % 256).save(buffer, "PNG")
    return buffer.getvalue()


def class_names(names: Sequence[str], column: str = "label", image: str = "image") -> dict[str, str]:
    """Metadata of a schema as the library `datasets` writes them."""
    features = {column: {"names": list(names), "_type": "ClassLabel"}, image: {"_type": "Image"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def write(
    path: Path,
    labels: Sequence[Any] | pa.Array,
    *,
    names: Sequence[str] = (),
    image: str = "image",
    start: int = 0,
    **more: Any,
) -> Path:
    """Write images whose grey value is `start` plus their row, with labels and more columns."""
    images = [{"bytes": png(start + row), "path": None} for row in range(len(labels))]
    table = pa.table({image: pa.array(images), "label": labels, **more})
    if names:
        table = table.replace_schema_metadata(class_names(names, image=image))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)
    return path
