"""Backends with `search_index`: what they find is what the one in memory finds."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from taskflow import ConfigurationError
from taskflow.backends import MemoryBackend, SqliteBackend
from taskflow.backends.sqlite_file import SqliteFile
from taskflow.backends.sqlite_rows import listing
from taskflow.backends.sqlite_search import AMONG, needle
from taskflow.core.models import TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import Change, SnapshotBackend
from taskflow.persistence.rows import TaskRow
from tests.backends import Store, at, history, ids, new_store, row, to
from tests.integration.test_backends_find import POPULATION, QUESTIONS
from tests.integration.test_backends_properties import OPERATIONS, Operation, listed, quick
from tests.integration.test_backends_properties import QUERIES as SHORT

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

LONG = st.builds(
    TaskQuery,
    tag=st.none() | st.sampled_from(["a=Äß", "b=İİ", "a=b=%%%", 'a=""', "customer"]),
    q=st.none()
    | st.sampled_from(["mail", "report", "it's", "\nmail", "äßi̇", 'a="', "%%%", "☃☃☃", "\ufffd\ufffda"]),
    status=st.sets(st.sampled_from(TaskStatus), max_size=2),
    limit=st.integers(1, 6),
)
"""Queries whose texts are long enough for the index."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request: pytest.FixtureRequest) -> Callable[[], Store]:
    return lambda: new_store(request.param, request)


@asynccontextmanager
async def opened(store: Store, **options: Any) -> AsyncIterator[SnapshotBackend]:
    backend = store(**{"search_index": True, **options})
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


@pytest.mark.parametrize(("filters", "expected"), QUESTIONS, ids=lambda value: str(value)[:60])
async def test_every_filter_that_is_given_holds(
    stores: Callable[[], Store], filters: dict[str, Any], expected: str
):
    async with opened(stores()) as backend:
        await backend.save(POPULATION)
        assert [f"a{digit}" for digit in expected] == ids(await backend.find(TaskQuery(**filters)))


@quick
@given(found=listed(), queries=st.lists(SHORT | LONG, min_size=5, max_size=20))
async def test_any_question_has_the_answer_of_the_one_in_memory(
    stores: Callable[[], Store], found: list[TaskRow], queries: list[TaskQuery]
):
    model = MemoryBackend()
    await model.save(found)
    async with opened(stores()) as backend:
        await backend.save(found)
        for query in queries:
            assert await model.find(query) == await backend.find(query)


@quick
@given(operations=OPERATIONS, queries=st.lists(LONG, min_size=3, max_size=5))
async def test_the_index_follows_any_sequence_of_calls(
    stores: Callable[[], Store], operations: list[Operation], queries: list[TaskQuery]
):
    model = MemoryBackend()
    async with opened(stores()) as backend:
        for operation in operations:
            assert await operation(model) == await operation(backend)
        for query in queries:
            assert await model.find(query) == await backend.find(query)


async def test_text_that_many_rows_have_is_found_from_the_newest_on(
    stores: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("taskflow.backends.sqlite_search.RARE", 2)
    monkeypatch.setattr("taskflow.backends.postgres.RARE", 2)
    async with opened(stores()) as backend:
        await backend.save(POPULATION)
        assert ["a7", "a4", "a2", "a1"] == ids(await backend.find(TaskQuery(q="mail")))
        assert ["a3"] == ids(await backend.find(TaskQuery(q="customer=170")))


async def test_rows_from_before_are_found_and_those_of_instances_without_the_option(
    stores: Callable[[], Store],
):
    store = stores()
    waiting = row("x", RUNNING, created_at=at(10))
    async with opened(store, search_index=False) as plain:
        await plain.save(POPULATION)
        await plain.commit([Change(waiting)])
    async with opened(store) as backend, opened(store, search_index=False) as plain:
        assert ["a2"] == ids(await backend.find(TaskQuery(q="timeout")))
        await plain.commit([to(row("x", FAILED, created_at=at(10), error="Refused"), waiting)])
        await plain.save([history("y", created_at=at(11), tags={"customer": "refused"})])
        assert ["y", "x"] == ids(await backend.find(TaskQuery(q="refused")))
        await plain.prune(at(60))
        assert [] == ids(await backend.find(TaskQuery(q="refused")))


async def test_a_vacuum_leaves_the_index_as_it_is(path: Path):
    async with opened(partial(SqliteBackend, path)) as backend:
        await backend.save([history(f"{n}", tags={"number": f"{n:03}"}, end_time=at(n)) for n in range(50)])
        await backend.prune(at(40))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    async with opened(partial(SqliteBackend, path)) as backend:
        assert ["45"] == ids(await backend.find(TaskQuery(tag="number=045")))


@pytest.mark.parametrize(
    "query",
    [
        TaskQuery(q="nothing"),
        TaskQuery(tag="customer=18"),
        TaskQuery(q="no", tag="abc", status=[FAILED, RUNNING]),
    ],
    ids=str,
)
async def test_rare_text_is_looked_up_and_nothing_else_is_read(path: Path, query: TaskQuery):
    with closing(SqliteFile(path, 5.0, search_index=True).connect()) as connection:
        text, parameters = listing(query, "default", (AMONG, {"needle": needle(query)}))
        plan = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]
    steps = [step for step in plan if "tasks" in step]
    assert "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)" == steps[0]
    assert all("VIRTUAL TABLE" in step for step in steps[1:])


@pytest.mark.parametrize(
    "query", [TaskQuery(), TaskQuery(q="no"), TaskQuery(tag="k", status=[FAILED])], ids=str
)
def test_short_text_is_in_no_group(query: TaskQuery):
    assert needle(query) is None


def test_the_option_is_a_flag(path: Path):
    with pytest.raises(ConfigurationError, match="search_index"):
        SqliteBackend(path, search_index="yes")  # type: ignore[arg-type]
