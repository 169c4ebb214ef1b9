"""What packing the records of a store did, in words, and packing them at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.console.terminal import say
from featurestore import FeatureStore
from featurestore.care.compact import Compacted, compact, is_due
from featurestore.errors import StoreError
from featurestore.plain_text import counted
from featurestore.store.record_cache import FEW_FILES

_MOST_LINES = 5


def in_words(done: Compacted) -> Iterator[str]:
    """Yield sentences about what was packed, and about each file that was not, up to a few."""
    for table, n_records in done.records.items():
        yield f"Packed {counted(n_records, 'file')} of {table} into {counted(done.packs[table], 'file')}."
    if done.merged:
        yield f"Wrote {counted(done.merged, 'pack')} anew, with others or without records of which later ones count."
    for file, why in list(done.left.items())[:_MOST_LINES]:
        yield f"{file} stays as it is: {why}."
    if len(done.left) > _MOST_LINES:
        yield f"So do {counted(len(done.left) - _MOST_LINES, 'more file')}."
    if not (done.records or done.merged or done.left):
        yield "There is nothing to pack."


def compact_if_due(store: FeatureStore) -> None:
    """Pack the records of a store at the end of a run, where there are many; a failure is said, and is none of the run.

    Parameters
    ----------
    store : FeatureStore
    """
    try:
        if is_due(store):
            for line in in_words(compact(store, more_than=FEW_FILES)):
                say(line)
    except StoreError as error:
        say(f"The records of this store were not packed, which changes no answer: {error}")
