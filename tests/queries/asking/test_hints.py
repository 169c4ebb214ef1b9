"""What is said of values that nothing in a store answers to."""

import sys

import pytest
from given import Given, score

from cluster.cli import main
from featurestore.errors import QueryError
from queries.asking.hints import refuse_negative, unknown_values


def test_what_is_in_the_store_is_not_remarked_on(given: Given) -> None:
    database = given(results=[score("a", "d0", 0.8), score("b", "d0", 0.7)])
    asked = {"setting": "fixed", "model": "a", "other": "b", "dataset": "d0", "probe": "logistic", "seed": "7"}
    assert list(unknown_values(database, asked)) == []


def test_a_misspelt_value_is_named_with_what_there_is(given: Given) -> None:
    database = given(results=[score("resnet50", "d0", 0.8), score("vit", "d0", 0.7)])
    assert list(unknown_values(database, {"other": "resnet5O", "setting": "scratch"})) == [
        "The store has no model 'resnet5O'. Did you mean 'resnet50'? It has: resnet50, vit.",
        "The store has no setting 'scratch'. It has: fixed.",
    ]


def test_of_many_names_the_first_are_listed(given: Given) -> None:
    database = given(results=[score(f"m{i:02}", "d0", 0.8) for i in range(12)])
    (said,) = unknown_values(database, {"model": "x"})
    assert said.endswith("It has: m00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 more.")
    assert list(unknown_values(given(), {"model": "x"})) == ["The store has no model 'x'. It has: none."]


def test_counts_below_nothing_are_refused() -> None:
    refuse_negative({"replicates": "0", "seed": "-1"})
    with pytest.raises(QueryError, match="'replicates' must be a whole number, at least 0. Got '-1'"):
        refuse_negative({"replicates": "-1"})


def test_the_command_says_it_beside_the_answer(
    given: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = given(results=[score("a", "d0", 0.8), score("b", "d0", 0.7)]).uri
    line = ["probestore", "query", "compare_models", "-p", "model=aa", "--store", uri, "--format", "csv"]
    monkeypatch.setattr(sys, "argv", line)
    main()
    said = capsys.readouterr()
    assert said.err.strip() == "The store has no model 'aa'. Did you mean 'a'? It has: a, b."
    assert said.out.startswith("dataset,")
