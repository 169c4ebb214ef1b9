"""What the library `datasets` of Hugging Face writes about the columns of a Parquet file, in its metadata."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from featurestore.errors import DatasetError


class Features:
    """The features of a schema: ``info.features`` of its metadata; none if there is no such thing."""

    def __init__(self, schema: pa.Schema) -> None:
        try:
            found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        except (KeyError, TypeError, ValueError, RecursionError):  # metadata of another kind
            found = None
        self._features: dict[str, Any] = found if isinstance(found, dict) else {}

    def of_type(self, type_: str) -> list[str]:
        """Return the columns of a type, such as ``"Image"`` or ``"ClassLabel"``; lists of it count."""
        inner = {name: _inner(feature) for name, feature in self._features.items()}
        return [name for name, feature in inner.items() if feature.get("_type") == type_]

    def class_names(self, column: str, dataset: str) -> tuple[str, ...]:
        """Return the names of the classes of a column; empty if there are none.

        Raises
        ------
        DatasetError
            If they are no list of different texts.
        """
        feature = self._at(column)
        if "names" not in feature:
            return ()
        names = feature["names"]
        texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not texts or len(set(names)) < len(names):
            raise DatasetError(
                f"Dataset {dataset!r}: the class names of {column!r} in the metadata must be a list of different "
                f"texts. Got {str(names)[:200]}."
            )
        return tuple(names)

    def _at(self, column: str) -> dict[str, Any]:
        """Return the feature of a column, which a name with dots looks for inside of structs."""
        if column in self._features:
            return _inner(self._features[column])
        found: Any = self._features
        for name in column.split("."):
            found = _inner(found.get(name)) if name in found else {}
        return dict(found)


def _inner(feature: Any) -> dict[str, Any]:
    """Return what a feature says of one value: lists are written as ``{"feature": ...}`` or as ``[...]``."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), (dict, list)):
            feature = feature["feature"]
        else:
            return feature if isinstance(feature, dict) else {}
