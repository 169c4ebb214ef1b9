"""probestore in a notebook: ``probestore.open("store").query("leaderboard").df()``.

It is installed as the module ``probestore`` and opens a `queries.notebook.open_store.OpenStore`. Importing it loads
neither DuckDB nor a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queries.notebook.open_store import OpenStore

__all__ = ["open"]


def open(uri: str, *, storage_options: Mapping[str, str] | None = None) -> OpenStore:  # noqa: A001 - as gzip.open
    """Open a store to ask it questions.

    Parameters
    ----------
    uri : str
        A folder, ``s3://bucket/prefix``, or another place that the command takes as ``--store``.
    storage_options : mapping of str to str, optional
        How to reach the store; see `featurestore.store.places.open_place`.

    Returns
    -------
    queries.notebook.open_store.OpenStore
        It shows the store as it is now; open the store again to see what came since.

    Raises
    ------
    StoreError
        If there is no store.
    QueryError
        If its tables cannot be read.

    Examples
    --------
    >>> store = probestore.open("demo-store")  # doctest: +SKIP
    >>> store.query("transfer_correlation", setting="fixed").df()  # doctest: +SKIP
    """
    from queries.notebook.open_store import OpenStore

    return OpenStore(uri, storage_options=storage_options)
