"""The two sentences of the report."""

from __future__ import annotations

from typing import Any

from queries.asking import findings_in_words as findings

Row = dict[str, Any]


def place(name: str, **changes: object) -> Row:
    row: Row = dict.fromkeys(("behind_best", "behind_low", "behind_high"))
    row |= {"model": name, "rank": 1, "rank_low": 1.0, "rank_high": 2.0, "mean_value": 0.8, "n_datasets": 3}
    return row | {"ties_with_best": True} | changes


def test_a_clear_winner_is_named_with_its_rank_and_its_odds() -> None:
    second = place("b", ties_with_best=False, behind_best=0.6931, behind_low=0.4055, behind_high=1.0986)
    assert findings.best_model([place("a", rank_high=1.0), second]) == (
        "Use a: it transfers best of 2 models over 3 datasets (mean accuracy 80.0%; rank 1, 95% interval 1 to 1), and "
        "the odds that it is right are 2.00 times those of the next, b (paired 95% interval 1.50 to 3.00)."
    )


def test_ties_are_admitted() -> None:
    said = findings.best_model([place("a"), place("b")])
    assert said.startswith(
        "Use a or b: a scores highest of 2 models over 3 datasets (mean accuracy 80.0%; rank 1, 95% interval"
    )
    assert said.endswith("but a paired t-test over datasets does not tell b apart from it.")
    assert findings.best_model([place("a"), place("b"), place("c")]).endswith("does not tell the others apart from it.")
    many = [place(name) for name in "abcdefg"]
    assert findings.best_model(many).startswith("Use a, b, c or 4 more: a scores highest of 7 models")


def test_models_that_share_the_first_place_share_its_rank() -> None:
    shared = [place("a", rank=1.5, rank_low=1.5, rank_high=1.5), place("b", rank=1.5)]
    assert "rank 1.5, 95% interval 1.5 to 1.5" in findings.best_model(shared)


def test_one_dataset_is_no_evidence_about_others() -> None:
    alone = {"n_datasets": 1, "rank_low": None, "rank_high": None}
    assert "on one dataset only" in findings.best_model([place("a", **alone), place("b", **alone)])


def test_other_settings_are_told_in_short() -> None:
    assert findings.best_elsewhere("fine-tuned", [place("a"), place("b", ties_with_best=False)]) == (
        "Fine-tuned, the best is a (mean accuracy 80.0%)."
    )
    assert "not told apart from b)" in findings.best_elsewhere("fine-tuned", [place("a"), place("b")])
    assert findings.best_elsewhere("fine-tuned", []) == ""


def found(**changes: object) -> Row:
    return {"n_models": 5, "r": 0.8, "fisher_low": 0.1, "fisher_high": 0.9} | changes


def test_a_correlation_is_only_claimed_when_its_interval_leaves_out_zero() -> None:
    assert "over only 5 models (95% interval 0.10 to 0.90): models that are better on ImageNet transfer better." in (
        findings.correlation(found())
    )
    assert "transfer worse" in findings.correlation(found(r=-0.8, fisher_low=-0.9, fisher_high=-0.1))
    assert "cannot be told from no correlation" in findings.correlation(found(fisher_low=-0.2))
    assert "too few" in findings.correlation(found(n_models=3, fisher_low=None))
    assert "do not differ enough" in findings.correlation(found(r=None))
    assert "here there are 2" in findings.correlation(found(n_models=2))
