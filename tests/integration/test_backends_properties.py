"""Whatever is asked of a backend with a database: it answers as the one in memory does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from operator import methodcaller
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskflow.backends import MemoryBackend
from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import Cursor, TaskQuery, microseconds
from taskflow.persistence.backend import Change, SnapshotBackend
from taskflow.persistence.rows import RELEASED, TaskRow
from tests.backends import REAL, Store, at, new_store, row

# TASKFLOW_EXAMPLES=500 for a thorough run.
EXAMPLES = int(os.environ.get("TASKFLOW_EXAMPLES", "20"))
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

Operation: TypeAlias = Callable[[SnapshotBackend], Coroutine[Any, Any, Any]]


@pytest.fixture(params=REAL)
def stores(request: pytest.FixtureRequest) -> Callable[[], Store]:
    return lambda: new_store(request.param, request)


@asynccontextmanager
async def opened(stores: Callable[[], Store]) -> AsyncIterator[SnapshotBackend]:
    """A backend without rows."""
    backend = stores()()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


# Few values, so that things meet.

OWNERS = st.sampled_from([RELEASED, "one", "two", "three"])
NAMES = st.sampled_from(["mail", "report", "it's"])
SECONDS = st.sampled_from([-1.5, 0.0, 0.000001, 1.0, 60.0])
TEXT = st.text("aÄßİΣ=%_\\'\"\n\0\ud800☃", max_size=4)
TAGS = st.dictionaries(st.sampled_from(["a", "b", "a=b", "%", "Ä"]) | TEXT, TEXT, max_size=2)

FIXED_BY_ID = {"a": "mail", "b": "report", "c": "mail", "Z": "it's", "é": "report"}
"""Functions of tasks: no two rows of a task have different ones."""


@st.composite
def rows(draw: st.DrawFn, durable: st.SearchStrategy[bool]) -> TaskRow:
    """Rows as the engine makes them."""
    task_id = draw(st.sampled_from(sorted(FIXED_BY_ID)))
    status = draw(st.sampled_from(TaskStatus))
    fields: dict[str, Any] = {"elapsed": draw(st.sampled_from([None, 0.0, 0.25, 3.0]))}
    if status in TERMINAL:
        fields["end_time"] = at(draw(SECONDS))
    return row(
        task_id,
        status,
        draw(OWNERS),
        func_name=FIXED_BY_ID[task_id],
        created_at=at(draw(SECONDS)),
        durable=draw(durable),
        idempotency_key=draw(st.sampled_from([None, "k", "K"])),
        payload=draw(st.none() | st.binary(max_size=2)),
        error=draw(st.none() | TEXT),
        **fields,
    )


def lists(of: st.SearchStrategy[TaskRow]) -> st.SearchStrategy[list[TaskRow]]:
    return st.lists(of, max_size=4, unique_by=lambda each: each.task_id)


def changes(new: list[TaskRow], expected: Sequence[tuple[str, TaskStatus] | None]) -> list[Change]:
    return [Change(each, wanted) for each, wanted in zip(new, expected, strict=False)]


STATES = st.sampled_from(TaskStatus)
EXPECTED = st.none() | st.tuples(OWNERS, STATES.filter(lambda status: status not in TERMINAL))
CURSORS = st.builds(Cursor, SECONDS.map(lambda seconds: microseconds(at(seconds))), st.sampled_from("abcZé"))
QUERIES = st.builds(
    TaskQuery,
    status=st.sets(STATES, max_size=3),
    func_name=st.none() | NAMES,
    tag=st.none()
    | st.sampled_from(["a", "b", "a=", "a=b", "%", "Ä", "a=Ä", "\\", "☃=☃", "\n"]).filter(str.strip),
    since=st.none() | SECONDS.map(at),
    until=st.none() | SECONDS.map(at),
    q=st.none()
    | st.sampled_from(["a", "=", "%", "_", "\\", "'", "Ä", "ß", "i̇", "σ", "ς", "?", "\ufffd", "it's"]),
    limit=st.integers(1, 6),
    after=st.none() | CURSORS,
)

OPERATIONS: st.SearchStrategy[list[Operation]] = st.lists(
    st.one_of(
        st.builds(methodcaller, st.just("save"), lists(rows(st.booleans()))),
        st.builds(
            methodcaller,
            st.just("commit"),
            st.builds(changes, lists(rows(st.just(True))), st.lists(EXPECTED, min_size=4, max_size=4)),
        ),
        st.builds(methodcaller, st.just("find"), QUERIES),
        st.builds(methodcaller, st.just("get"), st.sampled_from(sorted(FIXED_BY_ID))),
        st.builds(methodcaller, st.just("count")),
        st.builds(methodcaller, st.just("prune"), SECONDS.map(at)),
        st.builds(
            methodcaller,
            st.just("claimable"),
            st.sets(NAMES),
            st.integers(1, 5),
            after=st.none() | CURSORS,
        ),
        st.builds(methodcaller, st.just("unclaimable"), st.sets(NAMES)),
        st.builds(
            methodcaller,
            st.just("acquire"),
            OWNERS.filter(bool),
            previous=st.none() | OWNERS.filter(bool),
        ),
        st.builds(methodcaller, st.just("renew"), OWNERS.filter(bool)),
        st.builds(methodcaller, st.just("expire"), OWNERS.filter(bool), st.integers(1, 3)),
        st.builds(methodcaller, st.just("release"), OWNERS.filter(bool)),
    ),
    max_size=25,
)


@quick
@given(operations=OPERATIONS)
async def test_any_sequence_of_calls_has_the_answers_of_the_one_in_memory(
    stores: Callable[[], Store], operations: list[Operation]
):
    model = MemoryBackend()
    async with opened(stores) as backend:
        for operation in operations:
            assert await operation(model) == await operation(backend)
        for query in (TaskQuery(), TaskQuery(status=[TaskStatus.PENDING], func_name="mail")):
            assert await model.find(query) == await backend.find(query)
        assert await model.count() == await backend.count()
        assert await model.claimable([], 9) == await backend.claimable([], 9)
        assert await known(model) == await known(backend)


async def known(backend: SnapshotBackend) -> dict[str, int]:
    """What every backend has to say of leases: of those that were released, as long as they have rows."""
    leases, found = await backend.leases(), await backend.find(TaskQuery(limit=1_000))
    owners = {each.owner for each in found}
    return {token: beats for token, beats in leases.items() if beats or token in owners}


@st.composite
def listed(draw: st.DrawFn) -> list[TaskRow]:
    """Rows that differ in what can be asked for."""
    return [
        row(
            f"{number:x}",
            draw(STATES),
            draw(OWNERS),
            durable=False,
            func_name=draw(NAMES),
            created_at=at(draw(SECONDS)),
            tags=draw(TAGS),
            error=draw(st.none() | TEXT),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


@quick
@given(found=listed(), queries=st.lists(QUERIES, min_size=5, max_size=20))
async def test_any_question_has_the_answer_of_the_one_in_memory(
    stores: Callable[[], Store], found: list[TaskRow], queries: list[TaskQuery]
):
    model = MemoryBackend()
    await model.save(found)
    async with opened(stores) as backend:
        await backend.save(found)
        for query in queries:
            assert await model.find(query) == await backend.find(query)
