"""Limits: a query that takes too much is stopped and says so, and the next one runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from featurestore import FeatureStore
from featurestore.errors import QueryError
from queries.asking.database import Database
from queries.asking.limits import NO_LIMITS, Limits

FOREVER = "select count(*) from range(1000000) a, range(1000000) b where a.range <> b.range"
ENDLESS = "select range, repeat('x', 50) as text from range(1000000000000)"


def limited(store: FeatureStore, **limits: object) -> Database:
    return Database(store, limits=replace(NO_LIMITS, **limits))


@pytest.mark.parametrize("sql", [FOREVER, ENDLESS], ids=["before the first row", "between two rows"])
def test_a_query_is_stopped_when_its_time_is_over_and_the_next_one_runs(sql: str, store: FeatureStore) -> None:
    with limited(store, seconds=0.5, answer_bytes=10**12) as database:
        with pytest.raises(QueryError, match=r"stopped after 0\.5 seconds, the time limit here"):
            database.sql(sql)
        assert database.sql("select 1 as one").to_pylist() == [{"one": 1}]


def test_an_answer_that_is_too_large_is_not_collected(store: FeatureStore) -> None:
    with limited(store, answer_bytes=10**6) as database:
        with pytest.raises(QueryError, match=r"larger than 1 MB, the limit here.*limit 1000"):
            database.sql(ENDLESS)
        assert database.sql("select range from range(10) order by range")["range"].to_pylist() == list(range(10))


@pytest.mark.slow
def test_memory_and_temporary_files_are_bounded(store: FeatureStore) -> None:
    bounds = {"memory_bytes": 60 * 10**6, "threads": 1}
    said = r"needs more than 0\.1 GB of memory, the limit here, and cannot put enough of it on disk"
    sort = "select md5(range::text) as text from range(2000000) order by text"
    with limited(store, **bounds) as database:
        with pytest.raises(QueryError, match=said):
            database.sql("select list(range) from range(60000000)")
        assert database.sql(sort).num_rows == 2_000_000, "what does not fit goes to disk"
        assert database.sql("select current_setting('threads') as n").to_pylist() == [{"n": 1}]
    with limited(store, **bounds, disk_bytes=10**6) as database:
        with pytest.raises(QueryError, match=said):
            database.sql(sort)
        assert database.sql("select 1 as one").num_rows == 1


def test_an_answer_is_the_same_with_limits_and_without(store: FeatureStore) -> None:
    sql = "select range % 7 as a, null as b, [range] as c from range(30000) order by range"
    with Database(store) as free, limited(store, seconds=60, answer_bytes=10**9) as bound:
        assert free.sql(sql) == bound.sql(sql)
        assert bound.sql("select 1 as a where false").schema == free.sql("select 1 as a where false").schema
        with pytest.raises(QueryError, match="SQL: .*boom"):
            bound.sql("select case when range = 20000 then error('boom') end from range(30000)")


def test_limits_are_none_by_default() -> None:
    assert Limits() == NO_LIMITS


def test_text_with_the_header_of_a_question_has_its_defaults(store: FeatureStore) -> None:
    text = "-- How many?\n-- Parameters:\n--   n = 3  rows\nselect count(*) as n from range($n)"
    with Database(store) as database:
        assert database.run_text(text).to_pylist() == [{"n": 3}]
        assert database.run_text(text, n="5").to_pylist() == [{"n": 5}]
        with pytest.raises(QueryError, match="SQL needs a value for: word"):
            database.run_text("select $word")
