"""Findings in words: which model to use and whether better models transfer better, with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

_FEW = 10  # models; below, the text says how few they are


def best_model(leaderboard: Sequence[Row]) -> str:
    """Return a sentence that says which model to use, how sure its rank is, and which others are as good.

    Parameters
    ----------
    leaderboard : sequence of dict
        Rows of the question `leaderboard`.
    """
    ranked = [row for row in leaderboard if row["rank"] is not None]
    if not ranked:
        return "No model has been scored yet."
    best, *others = ranked
    over = f"over {_count(best['n_datasets'], 'dataset')}"
    mean = f"mean accuracy {best['mean_value']:.1%}"
    if not others:
        return f"Only {best['model']} has been scored ({mean} {over}), so there is nothing to compare it with."
    of_models = f"of {_count(len(ranked), 'model')}"
    if best["n_datasets"] == 1:
        return (
            f"{best['model']} scores highest {of_models} ({mean}), but on one dataset only: "
            "nobody can say whether that carries over to others."
        )
    sure = f"{mean}; {_rank(best)}"
    ties = [row["model"] for row in others if row["ties_with_best"]]
    if ties:
        return (
            f"Use {_listed([best['model'], *ties], 'or')}: {best['model']} scores highest {of_models} {over} ({sure}), "
            f"but a paired t-test over datasets does not tell {_them(ties)} apart from it."
        )
    gain, low, high = (math.exp(others[0][name]) for name in ("behind_best", "behind_low", "behind_high"))
    return (
        f"Use {best['model']}: it transfers best {of_models} {over} ({sure}), and the odds that it is right are "
        f"{gain:.2f} times those of the next, {others[0]['model']} (paired 95% interval {low:.2f} to {high:.2f})."
    )


def best_elsewhere(setting: str, leaderboard: Sequence[Row]) -> str:
    """Return a short sentence that says which model is best in another setting; empty where none is scored.

    Parameters
    ----------
    setting : str
        Its name in words.
    leaderboard : sequence of dict
        Rows of the question `leaderboard` in that setting.
    """
    ranked = [row for row in leaderboard if row["rank"] is not None]
    if not ranked:
        return ""
    best, *others = ranked
    ties = [row["model"] for row in others if row["ties_with_best"]]
    tied = f", not told apart from {_listed(ties, 'and')}" if ties else ""
    return f"{setting.capitalize()}, the best is {best['model']} (mean accuracy {best['mean_value']:.1%}{tied})."


def correlation(found: Row) -> str:
    """Return a sentence that says whether a better source model transfers better.

    Parameters
    ----------
    found : dict
        A row of the question `correlation_by_setting`. Where n_models is below three, no other column is needed.
    """
    n = found["n_models"]
    if n < 3:
        return (
            "Whether a better ImageNet model transfers better takes at least three models whose ImageNet accuracy is "
            f"known; here there {'is' if n == 1 else 'are'} {n or 'none'}."
        )
    if found["r"] is None:
        return f"The {n} models do not differ enough to correlate ImageNet accuracy with transfer."
    models = f"{'only ' if n < _FEW else ''}{n} models"
    r = f"ImageNet accuracy and transfer correlate with r = {_signed(found['r'])} over {models}"
    if found["fisher_low"] is None:
        return f"{r}, too few for an interval that can be trusted: r says next to nothing about other models."
    interval = f"95% interval {_signed(found['fisher_low'])} to {_signed(found['fisher_high'])}"
    if found["fisher_low"] <= 0 <= found["fisher_high"]:
        return f"{r}, which cannot be told from no correlation ({interval})."
    direction = "better" if found["r"] > 0 else "worse"
    return f"{r} ({interval}): models that are better on ImageNet transfer {direction}."


def _rank(row: Row) -> str:
    return f"rank {row['rank']:.3g}, 95% interval {row['rank_low']:.3g} to {row['rank_high']:.3g}"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _them(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "the others"


def _listed(names: Sequence[str], last: str) -> str:
    """Return `a`, `a and b` or `a, b and c`; of more than four names, three and the number of the others."""
    shown = list(names) if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"
