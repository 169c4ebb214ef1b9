"""Which models and datasets a query can need of the image tables, read from the query itself.

The answer may name too many, never too few. A reference to an image table is bounded by conditions that hold for all of
its rows that the query uses: those of the WHERE of the same SELECT that compare its column `model` or `dataset` with
given text. Whatever is not understood here asks for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeAlias

from featurestore.store import schema
from queries.asking.table_files import Asked

Tree: TypeAlias = Any
"""A SELECT, or a part of one, as DuckDB's ``json_serialize_sql`` gives it."""

REACHING = {
    "features": "features",
    "stored_features": "features",
    "stored_feature_files": "features",
    "current_feature_sets": "features",
    "samples": "samples",
    "stored_samples": "samples",
}
"""Table or view of our scripts -> the image table of which it shows files, with the columns of these."""

_NOTHING = Asked(models=frozenset(), datasets=frozenset())
_PLAIN_JOINS = {"INNER", "LEFT", "RIGHT", "FULL"}  # a row that WHERE leaves out later changes no other row of theirs
_LEFT_ONLY = {"SEMI", "ANTI"}
_PLAIN_KINDS = {"REGULAR", "CROSS", "NATURAL"}
_OTHERS = {"TABLE_FUNCTION", "SUBQUERY", "EXPRESSION_LIST", "EMPTY"}  # SELECTs inside them are looked at by themselves
_UNKNOWN = object()

_Bounds: TypeAlias = dict[str, frozenset[str]]
"""Column -> the values that it can have."""


@dataclass(frozen=True)
class Macro:
    """A macro of ours that reaches an image table: the names of its parameters, and its SELECT."""

    parameters: Sequence[str]
    tree: Tree


Macros: TypeAlias = Callable[[str], Macro | None]
"""Macro by its name in small letters; None where it reaches no image table."""


def asked_sets(tree: Tree, values: Mapping[str, object], macros: Macros) -> Mapping[str, Asked]:
    """Return what a SELECT can need of each image table that it reaches; of one that is not named, everything.

    Parameters
    ----------
    tree : dict
        The serialised SELECT.
    values : mapping of str to object
        Values of its parameters.
    macros : callable
        See `Macros`.
    """
    node = tree["statements"][0]["node"]
    if (node.get("from_table") or {}).get("show_type") == "DESCRIBE":  # columns are those of the file of no rows
        return dict.fromkeys(REACHING.values(), _NOTHING)
    found: dict[str, list[Asked]] = {}
    try:
        for table, asked in _asked(node, _Given(values), macros):
            found.setdefault(table, []).append(asked)
    except (_UnsureError, RecursionError):
        return {}
    return {table: reduce(_either, every) for table, every in found.items()}


class _UnsureError(Exception):
    """There is something in the SELECT of which nobody here knows what it reads."""


@dataclass(frozen=True)
class _Given:
    """The values of the parameters of a query, and of the arguments of the macro whose SELECT this is."""

    parameters: Mapping[str, object]
    arguments: Mapping[str, object] = field(default_factory=dict)

    def value(self, tree: Tree) -> object:
        """Return the value of an expression, where it is text or null and can be told here."""
        match tree["type"]:
            case "VALUE_CONSTANT" if tree["value"].get("is_null"):
                return None
            case "VALUE_CONSTANT" if tree["value"]["type"]["id"] == "VARCHAR":
                return tree["value"]["value"]
            case "VALUE_PARAMETER":
                return self.parameters.get(tree["identifier"], _UNKNOWN)
            case "COLUMN_REF" if len(tree["column_names"]) == 1:
                return self.arguments.get(tree["column_names"][0].lower(), _UNKNOWN)
        return _UNKNOWN


def _asked(tree: Tree, given: _Given, macros: Macros) -> Iterator[tuple[str, Asked]]:
    """Yield each reference to an image table, as (image table, what is asked of it)."""
    inside = tree if isinstance(tree, list) else list(tree.values()) if isinstance(tree, dict) else []
    if isinstance(tree, dict):
        if any(entry["key"].lower() in REACHING for entry in (tree.get("cte_map") or {}).get("map", ())):
            raise _UnsureError
        if tree.get("class") == "FUNCTION" and macros(tree["function_name"].lower()):
            raise _UnsureError
        if tree.get("type") == "TABLE_FUNCTION":
            yield from _of_function(tree["function"], given, macros)
            inside = tree["function"]["children"]
        if tree.get("type") == "SELECT_NODE":
            yield from _of_select(tree, given)
    for branch in inside:
        yield from _asked(branch, given, macros)


def _of_function(function: Tree, given: _Given, macros: Macros) -> Iterator[tuple[str, Asked]]:
    name = function["function_name"].lower()
    if "parquet" in name:
        raise _UnsureError
    if macro := macros(name):
        children = function["children"]
        named = {child["alias"].lower(): given.value(child) for child in children if child["alias"]}
        placed = [given.value(child) for child in children if not child["alias"]]
        arguments = dict(zip(macro.parameters, placed, strict=False)) | named
        yield from _asked(macro.tree, _Given({}, arguments), macros)


def _of_select(node: Tree, given: _Given) -> Iterator[tuple[str, Asked]]:
    references = list(_references(node["from_table"]))
    alone = len([1 for _, visible in references if visible]) == 1
    for reference, visible in references:
        name = (reference.get("table_name") or "").lower()
        if "/" in name or "parquet" in name:
            raise _UnsureError
        if name in REACHING:
            changed = reference["column_name_alias"] or reference["sample"] or node["sample"]
            bounds: _Bounds | None = {}
            if visible and node["where_clause"] and not changed:
                own = schema.SETS[REACHING[name]].partitions
                columns = _Columns((reference["alias"] or name).lower(), alone, {"model", "dataset"} & {*own})
                bounds = _bounds(node["where_clause"], columns, given)
            asked = _NOTHING if bounds is None else Asked(bounds.get("model"), bounds.get("dataset"))
            yield REACHING[name], asked


def _references(table: Tree, *, visible: bool = True) -> Iterator[tuple[Tree, bool]]:
    """Yield what a FROM joins, and of each whether WHERE knows its columns."""
    if table["type"] == "JOIN":
        known = table["ref_type"] in _PLAIN_KINDS and table["join_type"] in _PLAIN_JOINS | _LEFT_ONLY
        if not known:
            raise _UnsureError
        yield from _references(table["left"], visible=visible)
        yield from _references(table["right"], visible=visible and table["join_type"] in _PLAIN_JOINS)
    elif table["type"] in ("BASE_TABLE", *_OTHERS):
        yield table, visible
    else:
        raise _UnsureError


@dataclass(frozen=True)
class _Columns:
    """The columns of a reference: with its name before them, or without where it is the only one.

    Any other name, as that of a model beside `samples`, is one of an outer SELECT, or what the SELECT itself returns.
    """

    name: str
    alone: bool
    known: Collection[str]

    def named(self, tree: Tree) -> str | None:
        """Return the column that an expression is; None for any other."""
        *table, column = [part.lower() for part in tree["column_names"]] if tree["type"] == "COLUMN_REF" else [""]
        own = table == [self.name] or (self.alone and not table)
        return column if own and column in self.known else None


def _bounds(tree: Tree, columns: _Columns, given: _Given) -> _Bounds | None:
    """Return which values columns have where a condition is true; None if it never is."""
    kind, children = tree["type"], tree.get("children", ())
    if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
        found = [_bounds(child, columns, given) for child in children]
        return _all_of(found) if kind == "CONJUNCTION_AND" else _any_of(found)
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        value = given.value(children[0])
        return {} if value is _UNKNOWN or (value is None) == (kind == "OPERATOR_IS_NULL") else None
    if kind == "COMPARE_EQUAL":
        for column, other in ((tree["left"], tree["right"]), (tree["right"], tree["left"])):
            if name := columns.named(column):
                return _one_of(name, [given.value(other)])
    if kind == "COMPARE_IN" and (name := columns.named(children[0])):
        return _one_of(name, [given.value(child) for child in children[1:]])
    return {}


def _one_of(column: str, given: Sequence[object]) -> _Bounds:
    """Return the bounds of a column that is equal to one of these; text only is compared as text."""
    texts = [value for value in given if isinstance(value, str)]
    return {column: frozenset(texts)} if len(texts) == len(given) else {}


def _all_of(found: Sequence[_Bounds | None]) -> _Bounds | None:
    together: _Bounds = {}
    for bounds in found:
        if bounds is None:
            return None
        for column, values in bounds.items():
            together[column] = together.get(column, values) & values
    return together


def _any_of(found: Sequence[_Bounds | None]) -> _Bounds | None:
    possible = [bounds for bounds in found if bounds is not None]
    if not possible:
        return None
    shared = set.intersection(*(set(bounds) for bounds in possible))
    return {column: frozenset().union(*(bounds[column] for bounds in possible)) for column in shared}


def _either(first: Asked, second: Asked) -> Asked:
    return Asked(_union(first.models, second.models), _union(first.datasets, second.datasets))


def _union(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    return None if first is None or second is None else first | second
