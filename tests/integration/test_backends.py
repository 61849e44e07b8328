"""The contract of `taskflow.backend`, sentence by sentence, for every backend: opening, and the history.

`test_backends_durable.py` has the changes of durable tasks and the leases.
"""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskflow.backend import APPLIED, Outcome, SnapshotBackend, StatusTotal
from taskflow.models import FailedAttempt, TaskRecord, TaskStatus
from taskflow.query import TaskQuery
from taskflow.rows import to_record, to_row
from tests.backends import START, Store, at, ids, inserts, record, row

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

FOR_THE_STORE = {"args", "kwargs", "state_clock", "started_clock", "elapsed", "log_size", "backlog"}
"""Fields of a record that are not part of a row as they are."""


def known(record: TaskRecord) -> dict[str, Any]:
    names = {field.name for field in fields(TaskRecord)} - FOR_THE_STORE
    return {name: getattr(record, name) for name in names} | {"duration": record.duration}


def history(task_id: str, status: TaskStatus = SUCCESS, **values: Any):
    """The row of a task that was not written ahead."""
    return row(task_id, status, **{"durable": False} | values)


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


# find


async def test_an_empty_store_finds_nothing(backend: SnapshotBackend):
    assert [] == await backend.find(TaskQuery())


async def test_rows_are_found_newest_first_and_by_id_from_high_to_low_among_equals(backend: SnapshotBackend):
    await backend.save(
        [history(name, created_at=at(second)) for name, second in zip("cabdZ", [1, 2, 1, 1, 1], strict=True)]
    )
    assert list("adcbZ") == ids(await backend.find(TaskQuery()))


POPULATION = [
    history("a1", SUCCESS, created_at=at(1), func_name="mail", tags={"customer": "17"}),
    history("a2", FAILED, created_at=at(2), func_name="mail", error="Timeout after 5 s: 100% of \\nodes_"),
    row("a3", RUNNING, created_at=at(3), func_name="report", tags={"customer": "170", "region": "eu"}),
    row("a4", PENDING, created_at=at(4), func_name="mail", tags={"customer=17": "x"}),
    history("a5", CANCELLED, created_at=at(5), func_name="Ärger", tags={"cust": 'a "quoted"\nline'}),
    row("a6", RETRYING, created_at=at(6), func_name="report", error="x" * 999 + "needle", owner=""),
    history("a7", INTERRUPTED, created_at=at(7), func_name="mailer", tags={"Region": "EU"}),
]

QUESTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "7654321"),
    ({"status": [FAILED]}, "2"),
    ({"status": (RUNNING, PENDING, RETRYING)}, "643"),
    ({"status": {SUCCESS, FAILED, CANCELLED, INTERRUPTED}}, "7521"),
    ({"status": [RUNNING, SUCCESS]}, "31"),
    ({"func_name": "mail"}, "421"),
    ({"func_name": "MAIL"}, ""),
    ({"func_name": "Ärger"}, "5"),
    ({"tag": "customer"}, "431"),
    ({"tag": "customer=17"}, "41"),
    ({"tag": "customer=170"}, "3"),
    ({"tag": "cust"}, "5"),
    ({"tag": 'cust=a "quoted"\nline'}, "5"),
    ({"tag": "line"}, ""),
    ({"tag": "region"}, "3"),
    ({"tag": "17"}, ""),
    ({"tag": "%"}, ""),
    ({"since": at(3)}, "76543"),
    ({"since": at(3.000001)}, "7654"),
    ({"until": at(3)}, "21"),
    ({"until": at(3.000001)}, "321"),
    ({"since": at(2), "until": at(4)}, "32"),
    ({"since": at(4), "until": at(2)}, ""),
    ({"q": "MAIL"}, "7421"),
    ({"q": "ärger"}, "5"),
    ({"q": "ÄRGER"}, "5"),
    ({"q": "A3"}, "3"),
    ({"q": "customer=17"}, "431"),
    ({"q": "region=eu"}, "73"),
    ({"q": "timeout"}, "2"),
    ({"q": "%"}, "2"),
    ({"q": "_"}, "2"),
    ({"q": "\\N"}, "2"),
    ({"q": "m%l"}, ""),
    ({"q": "xn"}, "6"),
    ({"q": "xne"}, ""),
    ({"limit": 2}, "76"),
    ({"status": [FAILED], "func_name": "mail"}, "2"),
    ({"status": [RUNNING, FAILED], "func_name": "report"}, "3"),
    ({"status": [SUCCESS, PENDING], "func_name": "mail", "limit": 1}, "4"),
    ({"func_name": "mail", "tag": "customer", "since": at(0), "until": at(9), "q": "a1"}, "1"),
    ({"func_name": "mail", "since": at(2), "until": at(4)}, "2"),
    ({"status": [RUNNING], "tag": "region=eu", "q": "report"}, "3"),
    ({"status": [SUCCESS], "tag": "region=eu"}, ""),
]


@pytest.mark.parametrize(("filters", "expected"), QUESTIONS, ids=lambda value: str(value)[:60])
async def test_every_filter_that_is_given_holds(
    backend: SnapshotBackend, filters: dict[str, Any], expected: str
):
    await backend.save(POPULATION)
    assert [f"a{digit}" for digit in expected] == ids(await backend.find(TaskQuery(**filters)))


async def test_rows_that_are_found_are_whole(backend: SnapshotBackend):
    await backend.save(POPULATION)
    assert POPULATION[::-1] == await backend.find(TaskQuery())


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"status": [SUCCESS, PENDING]},
        {"func_name": "work"},
        {"tag": "n"},
        {"q": "work"},
        {"until": at(2.5)},
        {"since": at(1)},
        {"since": at(1), "until": at(2)},
    ],
    ids=str,
)
async def test_pages_give_every_row_once_while_others_are_added(
    backend: SnapshotBackend, filters: dict[str, Any]
):
    # Four at each moment, so that pages end between equals.
    statuses = (SUCCESS, PENDING, FAILED)
    rows = [history(f"{n:02}", statuses[n % 3], created_at=at(n // 4), tags={"n": str(n)}) for n in range(16)]
    await backend.save(rows)
    expected = ids(await backend.find(TaskQuery(**filters)))

    found: list[str] = []
    after = None
    while page := await backend.find(TaskQuery(**filters, limit=3, after=after)):
        found += ids(page)
        after = page[-1].cursor
        await backend.save([history(f"new {len(found)}", created_at=at(100))])
    assert expected == found


async def test_a_page_goes_on_after_a_row_that_is_gone(backend: SnapshotBackend):
    await backend.save([history(name, created_at=at(1)) for name in "abc"])
    await backend.save([history("d", created_at=at(1), end_time=at(-60))])
    (gone,) = await backend.find(TaskQuery(limit=1))
    await backend.prune(at(0))
    assert list("cba") == ids(await backend.find(TaskQuery(after=gone.cursor)))


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
