"""Names that differ in case only: two names here, but one folder on a file system that does not tell case apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from cluster.study.study_file import Study
from featurestore import FeatureStore
from featurestore.errors import ConfigurationError
from featurestore.plain_text import shortly


def alike_names(study: Study, store: FeatureStore | None) -> Iterator[str]:
    """Return a sentence for each group of names, of the study and of its store, that differ in case only.

    Parameters
    ----------
    study : Study
    store : FeatureStore, optional
        None stands for a store that is yet to be made.

    Raises
    ------
    ConfigurationError
        If the file system of the store takes such names for one.
    """
    folds = store is not None and store.storage.folds_case()
    own = {
        "models": [spec.name for spec in study.models],
        "datasets": [spec.name for spec in study.datasets],
        "studies": [study.name],
    }
    for kind, names in own.items():
        for group in _alike(names, _stored(kind, store)):
            said = f"The {kind} {shortly(list(map(repr, group)))} differ in upper and lower case only."
            if folds:
                raise ConfigurationError(
                    f"{said} The file system of the store does not tell them apart, so they would share their files. "
                    "Give all but one of them another name, or another store."
                )
            yield f"{said} They are kept apart here; where case does not count (macOS, exFAT, SMB) they would not be."


def _stored(kind: str, store: FeatureStore | None) -> Iterable[str]:
    if store is None or not store.storage.is_local:  # object stores tell case apart, and listings cost there
        return ()
    return store.names("cells" if kind == "studies" else kind)


def _alike(names: Iterable[str], others: Iterable[str]) -> Iterator[list[str]]:
    """Return the groups of names that differ in case only, and of which one is among the first."""
    groups: dict[str, set[str]] = defaultdict(set)
    wanted = {name.casefold() for name in names}
    for name in (*names, *others):
        groups[name.casefold()].add(name)
    yield from (sorted(group) for folded, group in sorted(groups.items()) if folded in wanted and len(group) > 1)
