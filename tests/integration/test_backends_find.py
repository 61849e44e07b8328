"""The contract of a backend, sentence by sentence, for every backend: questions to the history."""

from __future__ import annotations

from typing import Any

import pytest

from taskflow.core.models import FailedAttempt, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import SnapshotBackend
from taskflow.persistence.rows import listed, to_record, to_row
from tests.backends import at, history, ids, record, row

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


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


async def test_rows_that_are_found_have_all_that_a_list_shows(backend: SnapshotBackend):
    await backend.save(POPULATION)
    assert [listed(each) for each in POPULATION[::-1]] == await backend.find(TaskQuery())


@pytest.mark.parametrize(
    "query", [TaskQuery(), TaskQuery(status=[FAILED]), TaskQuery(func_name="work")], ids=str
)
async def test_rows_that_are_found_lack_what_can_be_large(backend: SnapshotBackend, query: TaskQuery):
    large = "x" * 50_000
    attempts = [FailedAttempt(at(n), at(n), large[:1_000], "Error", 0.0) for n in range(50)]
    whole = record(
        "a",
        FAILED,
        payload=large.encode(),
        logs=[large],
        stacktrace=large,
        error=large,
        failed_attempts=attempts,
        tags={"k": "v"},
        durable=False,
    )
    await backend.save([to_row(whole, "here")])

    (found,) = await backend.find(query)
    assert len(found.body + found.search) < 5_000
    assert (None, None) == (found.payload, found.details)
    shown = to_record(found)
    assert whole.to_dict(brief=True) == shown.to_dict()
    assert whole.to_dict() == to_record(await backend.get("a")).to_dict()


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
