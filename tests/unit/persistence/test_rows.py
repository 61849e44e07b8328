from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import BackendFormatError, TaskRecord, TaskStatus
from taskflow.core.models import TERMINAL, FailedAttempt
from taskflow.core.query import Cursor
from taskflow.persistence.rows import RELEASED, Rows, TaskRow, to_record, to_row
from tests.backends import at, record, row

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

IN_MEMORY_ONLY = {
    "args",
    "kwargs",
    "state_clock",
    "started_clock",
    "backlog",
    "kept_lines",
    "weight",
    "preview",
}
"""Fields of a record that end with the process; its arguments live on as ``payload``."""


def lasting(record: TaskRecord) -> dict[str, Any]:
    names = {field.name for field in fields(TaskRecord)} - IN_MEMORY_ONLY
    return {name: getattr(record, name) for name in names}


TEXT = st.text(max_size=10)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=3)
TIMES = st.datetimes(timezones=st.just(UTC))
NUMBERS = st.integers(0, 1000)
SECONDS = st.floats(0, 1e9)
ATTEMPTS = st.lists(st.builds(FailedAttempt, TIMES, TIMES, TEXT, TEXT, SECONDS), min_size=1, max_size=2)

RECORDS = st.builds(
    TaskRecord,
    task_id=TEXT,
    func_name=TEXT,
    status=st.sampled_from(TaskStatus),
    created_at=TIMES,
    start_time=st.none() | TIMES,
    end_time=st.none() | TIMES,
    retries_used=NUMBERS,
    max_retries=NUMBERS,
    attempt=NUMBERS,
    error=st.none() | TEXT,
    error_type=st.none() | TEXT,
    stacktrace=st.none() | TEXT,
    logs=st.lists(TEXT, max_size=3),
    idempotency_key=st.none() | TEXT,
    tags=TEXTS,
    retry_of=st.none() | TEXT,
    reason=st.none() | TEXT,
    registered=st.booleans(),
    code_function=st.none() | TEXT,
    trace_context=st.none() | TEXTS,
    durable=st.booleans(),
    duplicate_of=st.none() | TEXT,
    attempt_started=st.none() | TIMES,
    failed_attempts=st.none() | ATTEMPTS,
    next_attempt_at=st.none() | TIMES,
    rescues=NUMBERS,
    left_by=st.lists(TEXT, max_size=3),
    arguments_kept=st.booleans(),
    elapsed=SECONDS,
)
PAYLOADS = st.sampled_from(["payload", "encrypted_payload"])


@given(record=RECORDS, data=st.none() | st.binary(max_size=5), name=PAYLOADS)
def test_every_field_of_a_record_survives(record: TaskRecord, data: bytes | None, name: str):
    kept = replace(record, **{name: data})
    assert lasting(kept) == lasting(to_record(to_row(kept, "here")))


CHANGEABLE = sorted(lasting(TaskRecord("", "")).keys() - {"task_id"})
CHANGES = st.lists(st.tuples(st.sampled_from(CHANGEABLE), RECORDS), max_size=3)


@given(record=RECORDS, data=st.none() | st.binary(max_size=5), name=PAYLOADS, changes=CHANGES)
def test_a_row_that_was_made_from_the_one_before_is_the_one_that_is_made_anew(
    record: TaskRecord, data: bytes | None, name: str, changes: list[tuple[str, TaskRecord]]
):
    changed = replace(record, **{name: data})
    rows = Rows(changed)
    assert to_row(changed, "here") == rows.next("here")
    for field, other in changes:
        setattr(changed, field, getattr(other, field))
        assert to_row(changed, "here") == rows.next("here")


def test_lines_that_are_added_in_place_are_in_the_next_row():
    logged = record("a", RUNNING, logs=["one"])
    rows = Rows(logged)
    rows.next("here")
    logged.logs.append("two")
    assert ["one", "two"] == to_record(rows.next("here")).logs


@given(record=RECORDS)
def test_a_body_is_one_line_of_ascii(record: TaskRecord):
    body = to_row(record, "here").body
    assert body.isascii()
    assert "\n" not in body
    assert isinstance(json.loads(body), dict)


def test_what_is_asked_for_is_a_column():
    asked = record(
        "a",
        SUCCESS,
        created_at=at(0),
        end_time=at(2),
        elapsed=1.5,
        tags={"customer": "17", "region": "eu"},
        error="No",
        idempotency_key="k",
        payload=b"[]",
    )
    expected = TaskRow(
        task_id="a",
        func_name="work",
        status=SUCCESS,
        created=1_772_366_400_000_000,
        ended=1_772_366_402_000_000,
        duration=1.5,
        owner=None,
        durable=True,
        held_key="k",
        labels=("customer=17", "region=eu"),
        search="work\na\ncustomer=17\nregion=eu\nno",
        encrypted=False,
        payload=b"[]",
        body=to_row(asked, "here").body,
        details=to_row(asked, "here").details,
    )
    assert expected == to_row(asked, "here")
    assert Cursor(1_772_366_400_000_000, "a") == expected.cursor


@pytest.mark.parametrize("status", TaskStatus)
def test_a_row_has_an_owner_until_the_task_has_ended(status: TaskStatus):
    assert (None if status in TERMINAL else "here") == row("a", status).owner
    assert (None if status in TERMINAL else RELEASED) == row("a", status, RELEASED).owner


@pytest.mark.parametrize("status", TaskStatus)
def test_a_durable_task_holds_its_key_unless_it_ended_without_success(status: TaskStatus):
    expected = None if status in {FAILED, INTERRUPTED, CANCELLED} else "k"
    assert expected == row("a", status, idempotency_key="k").held_key
    assert row("a", status, idempotency_key="k", durable=False).held_key is None


def test_an_encrypted_payload_is_told_from_a_plain_one():
    plain, encrypted, none = row("a", payload=b"1"), row("a", encrypted_payload=b"1"), row("a")
    assert [(False, b"1"), (True, b"1"), (False, None)] == [
        (each.encrypted, each.payload) for each in (plain, encrypted, none)
    ]
    assert b"1" == to_record(encrypted).encrypted_payload
    assert to_record(encrypted).payload is None


def test_a_row_of_an_earlier_version_has_everything_in_its_body():
    body = {"logs": ["line"], "stacktrace": "Traceback", "error": "e" * 3_000}
    old = replace(row("a", FAILED), body=json.dumps(body))
    assert body == {name: getattr(to_record(old), name) for name in body}


def test_details_that_an_earlier_version_left_when_it_changed_a_row_are_not_told():
    newer = row("a", FAILED, logs=["line"], error="e" * 3_000)
    body = {"logs": ["line", "another"], "error": "other"}
    older = replace(newer, body=json.dumps(body))
    assert body == {name: getattr(to_record(older), name) for name in body}


def test_what_fits_into_a_list_has_no_details():
    assert row("a", FAILED, error="e" * 1_000).details is None


BODY = json.loads(row("a").body)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        "5",
        json.dumps(BODY | {"start_time": "yesterday"}),
        json.dumps(BODY | {"start_time": 10**30}),
        json.dumps(BODY | {"failed_attempts": [{}]}),
        json.dumps(BODY | {"failed_attempts": 5}),
        json.dumps(BODY | {"failed_attempts": [{"started_at": 0, "ended_at": 0, "unknown": 1}]}),
    ],
    ids=lambda body: body[-50:],
)
def test_a_damaged_body_names_its_task(body: str):
    with pytest.raises(BackendFormatError, match="the body of task a is damaged"):
        to_record(replace(row("a"), body=body))


@pytest.mark.parametrize("details", ["", "{", "null", "5", '{"failed_attempts": 5}'])
def test_damaged_details_name_their_task(details: str):
    with pytest.raises(BackendFormatError, match="the body of task a is damaged"):
        to_record(replace(row("a", logs=["line"]), details=details))
