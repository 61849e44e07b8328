"""The contract of a backend, sentence by sentence, for every backend: opening, and the history.

`test_backends_find.py` has the questions to it, `test_backends_durable.py` the changes of durable tasks,
`test_backends_leases.py` who may take them over, and `test_backends_properties.py` everything at random.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskflow.core.models import FailedAttempt, TaskRecord, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import APPLIED, Outcome, SnapshotBackend, StatusTotal
from taskflow.persistence.rows import to_record, to_row
from tests.backends import START, Store, at, history, ids, inserts, record, row

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

FOR_THE_STORE = {
    "args",
    "kwargs",
    "state_clock",
    "started_clock",
    "elapsed",
    "backlog",
    "kept_lines",
    "weight",
    "preview",
}
"""Fields of a record that are not part of a row as they are."""


def known(record: TaskRecord) -> dict[str, Any]:
    names = {field.name for field in fields(TaskRecord)} - FOR_THE_STORE
    return {name: getattr(record, name) for name in names} | {"duration": record.duration}


# Opening and closing


async def test_opening_an_open_backend_does_nothing(backend: SnapshotBackend):
    await backend.save([history("a")])
    await backend.open()
    assert ["a"] == ids(await backend.find(TaskQuery()))


async def test_a_closed_backend_can_be_opened_again(store: Store):
    backend = store()
    await backend.open()
    await backend.save([history("a")])
    await backend.close()
    await backend.close()

    await backend.open()
    assert ["a"] == ids(await backend.find(TaskQuery()))
    await backend.close()


def test_a_backend_serves_one_event_loop_after_the_other(store: Store):
    backend = store()

    async def run(task_id: str) -> list[str]:
        await backend.open()
        await backend.save([history(task_id)])
        found = await backend.find(TaskQuery())
        await backend.close()
        return ids(found)

    assert ["a"] == asyncio.run(run("a"))
    assert ["b", "a"] == asyncio.run(run("b"))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_backend_serves_a_loop_after_one_that_ended_without_closing_it(store: Store):
    backend = store()

    async def run(task_id: str, *, close: bool = False) -> list[str]:
        await backend.open()
        # More than there are connections: they wait for each other.
        await asyncio.gather(*(backend.save([history(f"{task_id}{n:02}")]) for n in range(20)))
        found = await backend.find(TaskQuery(limit=1))
        if close:
            await backend.close()
        return ids(found)

    assert [["a19"], ["b19"], ["c19"]] == [
        asyncio.run(run("a")),
        asyncio.run(run("b")),
        asyncio.run(run("c", close=True)),
    ]
    gc.collect()  # what is left of those loops warns here


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_backend_whose_loop_has_ended_can_be_closed(store: Store):
    backend = store()
    asyncio.run(backend.open())
    asyncio.run(backend.close())
    gc.collect()


async def test_several_calls_are_answered_at_once(backend: SnapshotBackend):
    saves = (backend.save([history(f"{n:02}")]) for n in range(20))
    await asyncio.gather(*saves, *(backend.find(TaskQuery()) for _ in range(20)), backend.open())
    assert 20 == len(await backend.find(TaskQuery()))


async def test_a_second_backend_sees_what_the_first_one_saved(
    backend: SnapshotBackend, other: SnapshotBackend
):
    await backend.save([history("a")])
    assert history("a") == await other.get("a")


# What is kept


EVERYTHING = TaskRecord(
    "e7b1",
    "report",
    FAILED,
    created_at=at(0.000001),
    start_time=at(2.5),
    end_time=at(10.75),
    retries_used=2,
    max_retries=3,
    attempt=2,
    error="no such file",
    error_type="FileNotFoundError",
    stacktrace="Traceback (most recent call last):\n  …",
    logs=["2026-03-01T12:00:00.000001Z INFO one", "2026-03-01T12:00:00.000002Z ERROR two"],
    idempotency_key="monthly",
    tags={"customer": "17", "region": "eu"},
    retry_of="e7b0",
    reason="poison",
    registered=True,
    code_function="shop.reports.report",
    trace_context={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    durable=True,
    duplicate_of="e7af",
    attempt_started=at(9),
    failed_attempts=[FailedAttempt(at(2.5), at(3.25), "no", "builtins.OSError", 1.5)],
    next_attempt_at=at(9.5),
    payload=b'{"args": [1, null]}',
    rescues=1,
    left_by=["9f2c41d07b3e"],
    elapsed=8.25,
)


@pytest.mark.parametrize(
    "expected",
    [
        EVERYTHING,
        replace(EVERYTHING, payload=None, encrypted_payload=b"gAAAAAB\x00\xff"),
        TaskRecord("1", "f"),
    ],
    ids=["all fields", "encrypted", "defaults"],
)
async def test_every_field_of_a_record_survives(backend: SnapshotBackend, expected: TaskRecord):
    await backend.commit(inserts(to_row(expected, "here")))
    stored = await backend.get(expected.task_id)

    assert to_row(expected, "here") == stored
    assert known(expected) == known(to_record(stored))


HOSTILE = {
    "nul": "a\0b",
    "lone surrogates": "\ud800 and \udfff",
    "emoji": "👩‍👩‍👧‍👦",
    "quotes": """'"`“''""",
    "sql": "'); DROP TABLE tasks; --",
    "lua": "]] redis.call('flushall') --[[",
    "escapes": "\\ \\0 \\u0000 \x1b[31m \r\n\t",
    "wildcards": "%_*?[a-z]^",
    "separators": 'a=b=c, d\n"e": {f}|\u2028',
    "long": "é" * 65_536,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_text_comes_back_as_it_was(backend: SnapshotBackend, text: str):
    texts: dict[str, Any] = dict.fromkeys(("error", "error_type", "stacktrace", "reason"), text)
    expected = record(
        "a", FAILED, logs=[text], tags={text: text, "": ""}, trace_context={text: text}, **texts
    )
    await backend.commit(inserts(to_row(expected, "here")))
    await backend.save([to_row(replace(expected, task_id="b"), "here")])

    for task_id in "ab":
        stored = await backend.get(task_id)
        assert to_row(replace(expected, task_id=task_id), "here") == stored
        assert known(replace(expected, task_id=task_id)) == known(to_record(stored))


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    ids=str,
)
async def test_extreme_moments_are_exact(backend: SnapshotBackend, moment: datetime):
    times = {"created_at": moment, "start_time": moment, "end_time": moment}
    await backend.save([history("a", **times)])
    stored = to_record(await backend.get("a"))
    assert (moment, moment, moment) == (stored.created_at, stored.start_time, stored.end_time)
    assert ["a"] == ids(await backend.find(TaskQuery(since=moment)))
    assert [] == await backend.find(TaskQuery(until=moment))


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.1, 1 / 3, 1e9])
async def test_a_duration_is_exact(backend: SnapshotBackend, seconds: float):
    await backend.save([history("a", elapsed=seconds)])
    assert seconds == (await backend.get("a")).duration


async def test_an_unknown_id_has_no_row(backend: SnapshotBackend):
    assert await backend.get("a") is None


# save


async def test_nothing_can_be_saved(backend: SnapshotBackend):
    await backend.save([])
    assert [] == await backend.find(TaskQuery())


async def test_saving_again_replaces_a_row(backend: SnapshotBackend):
    await backend.save([history("a", RUNNING, tags={"one": "1"}, payload=b"one")])
    newer = history("a", SUCCESS, func_name="other", tags={"two": "2"}, created_at=at(5))
    await backend.save([newer, history("b")])

    assert newer == await backend.get("a")
    assert ["a"] == ids(await backend.find(TaskQuery(tag="two")))
    assert [] == await backend.find(TaskQuery(tag="one"))
    assert [] == await backend.find(TaskQuery(status=[RUNNING]))


async def test_many_rows_are_saved_at_once(backend: SnapshotBackend):
    rows = [history(f"{n:03}", created_at=at(n)) for n in range(500)]
    await backend.save(rows)
    assert rows[::-1] == await backend.find(TaskQuery(limit=1000))


@pytest.mark.parametrize("status", TaskStatus)
async def test_save_leaves_a_durable_row_alone_that_has_not_ended(
    backend: SnapshotBackend, status: TaskStatus
):
    await backend.commit(inserts(row("a", PENDING)))
    await backend.save([row("a", status, logs=["late"]), history("b")])
    assert row("a", PENDING) == await backend.get("a")
    assert history("b") == await backend.get("b")


async def test_save_brings_a_late_line_to_a_durable_row_that_has_ended(backend: SnapshotBackend):
    await backend.commit(inserts(row("a", SUCCESS)))
    await backend.save([row("a", SUCCESS, logs=["late"])])
    assert row("a", SUCCESS, logs=["late"]) == await backend.get("a")


@pytest.mark.parametrize("status", [PENDING, RUNNING, FAILED, CANCELLED, INTERRUPTED])
async def test_save_leaves_a_durable_row_alone_that_has_ended_otherwise(
    backend: SnapshotBackend, status: TaskStatus
):
    await backend.commit(inserts(row("a", SUCCESS)))
    await backend.save([row("a", status, logs=["late"])])
    assert row("a", SUCCESS) == await backend.get("a")


async def test_save_gives_nobody_an_idempotency_key(backend: SnapshotBackend):
    saved = row("a", SUCCESS, idempotency_key="k")
    await backend.save([saved])

    assert replace(saved, held_key=None) == await backend.get("a")
    assert [APPLIED] == await backend.commit(inserts(row("b", idempotency_key="k")))


async def test_save_leaves_an_idempotency_key_with_its_holder(backend: SnapshotBackend):
    await backend.commit(inserts(row("a", SUCCESS, idempotency_key="k")))
    late = row("a", SUCCESS, idempotency_key="k", logs=["late"])
    await backend.save([late])

    assert late == await backend.get("a")
    refused = Outcome(applied=False, holder="a")
    assert [refused] == await backend.commit(inserts(row("b", idempotency_key="k")))


# count


async def test_an_empty_store_counts_nothing(backend: SnapshotBackend):
    assert {} == await backend.count()


async def test_rows_are_counted_by_status_with_the_seconds_of_those_that_took_any(backend: SnapshotBackend):
    await backend.save(
        [
            history("a", SUCCESS, elapsed=0.5),
            history("b", SUCCESS, elapsed=2.0),
            history("c", CANCELLED, start_time=None),
            history("d", CANCELLED, elapsed=0.0),
            history("e", RUNNING),
        ]
    )
    await backend.commit(inserts(row("f", RUNNING), row("g", PENDING, owner="")))
    expected = {
        SUCCESS: StatusTotal(2, 2, 2.5),
        CANCELLED: StatusTotal(2, 1, 0.0),
        RUNNING: StatusTotal(2),
        PENDING: StatusTotal(1),
    }
    assert expected == await backend.count()


# prune


async def test_only_rows_that_ended_before_the_moment_are_pruned(backend: SnapshotBackend):
    await backend.save([history(str(n), end_time=at(n)) for n in range(5)])
    await backend.save([history("open", RUNNING, created_at=START - timedelta(days=999))])
    assert 2 == await backend.prune(at(2))

    assert {"2", "3", "4", "open"} == set(ids(await backend.find(TaskQuery())))
    assert await backend.get("1") is None
    assert {SUCCESS: StatusTotal(3, 3, 9.0), RUNNING: StatusTotal(1)} == await backend.count()


async def test_no_more_rows_are_pruned_than_the_limit(backend: SnapshotBackend):
    await backend.save([history(str(n)) for n in range(5)])
    assert [2, 2, 1, 0] == [await backend.prune(at(60), limit=2) for _ in range(4)]


async def test_thousands_of_rows_are_pruned_in_one_call(backend: SnapshotBackend):
    for start in range(0, 2500, 500):
        await backend.save([history(f"{start + n:04}") for n in range(500)])
    assert 2500 == await backend.prune(at(60))
    assert {} == await backend.count()


async def test_a_pruned_row_gives_its_idempotency_key_back(backend: SnapshotBackend):
    await backend.commit(inserts(row("a", SUCCESS, idempotency_key="k")))
    await backend.prune(at(60))
    assert [APPLIED] == await backend.commit(inserts(row("b", idempotency_key="k")))
