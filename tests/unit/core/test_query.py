from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import ConfigurationError, TaskRecord, TaskStatus
from taskflow.core.query import MAX_PAGE, Cursor, TaskQuery, labels, microseconds, moment, search_text
from tests.backends import at, record

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

TIMES = st.datetimes(
    timezones=st.just(UTC) | st.builds(timezone, st.timedeltas(-timedelta(hours=23), timedelta(hours=23)))
)


# Moments


@given(time=TIMES)
def test_a_moment_is_exact_to_the_microsecond(time: datetime):
    try:
        expected = time.astimezone(UTC)
    except OverflowError:  # before the year 1, or after 9999, in UTC
        with pytest.raises(OverflowError):
            moment(microseconds(time))
    else:
        assert expected == moment(microseconds(time))


def test_moments_are_counted_from_1970():
    assert 0 == microseconds(datetime(1970, 1, 1, tzinfo=UTC))
    assert -1 == microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    assert 1_772_366_400_000_001 == microseconds(at(0.000001))


# Cursors


@given(created=st.integers(0, 10**17 - 1), task_id=st.text("ab-:/é☃", min_size=1))
def test_a_cursor_can_be_read_from_what_it_wrote(created: int, task_id: str):
    assert Cursor(created, task_id) == Cursor.parse(str(Cursor(created, task_id)))


def test_the_cursor_of_a_record_is_its_place_in_the_listing():
    assert Cursor(1_772_366_402_000_000, "a") == Cursor.of(record("a", created_at=at(2)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "5",
        "5-",
        "-a",
        "a-b",
        "5.0-a",
        "+5-a",
        "-5-a",
        " 5-a",
        "²-a",
        "٣-a",
        "9" * 18 + "-a",
        "5-\0",
        "5-\ud800",
    ],
)
def test_what_is_not_a_cursor_is_refused(text: str):
    with pytest.raises(ConfigurationError) as caught:
        Cursor.parse(text)
    assert "cursor" == caught.value.parameter


def test_cursors_are_in_the_order_of_the_listing():
    oldest_first = [Cursor(1, "b"), Cursor(2, "Z"), Cursor(2, "a"), Cursor(2, "é"), Cursor(10, "a")]
    assert oldest_first == sorted(set(oldest_first))


# Questions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", 0),
        ("limit", MAX_PAGE + 1),
        ("limit", True),
        ("limit", "10"),
        ("limit", 1.5),
        ("status", ["lost"]),
        ("status", "failed"),
        ("since", datetime(2026, 1, 1)),  # noqa: DTZ001 - this is what is refused
        ("since", "2026-01-01"),
        ("until", datetime(2026, 1, 1)),  # noqa: DTZ001
        ("func_name", ""),
        ("func_name", 5),
        ("tag", " "),
        ("tag", "a\0b"),
        ("q", ""),
        ("q", "\ud800"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_its_name(name: str, value: Any):
    with pytest.raises(ConfigurationError) as caught:
        TaskQuery(**{name: value})
    assert name == caught.value.parameter


def test_a_question_can_be_a_key():
    assert 1 == len({TaskQuery(status=[SUCCESS, FAILED]), TaskQuery(status=(FAILED, SUCCESS, FAILED))})


def test_a_question_goes_on_from_a_place():
    question = TaskQuery(tag="a", q="b", limit=7)
    assert TaskQuery(tag="a", q="b", limit=3, after=Cursor(1, "a")) == question.following(Cursor(1, "a"), 3)


RECORD = record(
    "e7b1",
    FAILED,
    func_name="Mail",
    created_at=at(5),
    tags={"customer": "17", "a=b": "c"},
    error="Timeout: ÄRGER",
)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"status": [FAILED]},
        {"status": {SUCCESS, FAILED}},
        {"func_name": "Mail"},
        {"tag": "customer"},
        {"tag": "customer=17"},
        {"tag": "a"},
        {"tag": "a=b"},
        {"tag": "a=b=c"},
        {"since": at(5)},
        {"since": at(5).astimezone(timezone(timedelta(hours=9)))},
        {"until": at(5.000001)},
        {"q": "mail"},
        {"q": "E7B"},
        {"q": "CUSTOMER=1"},
        {"q": "ärger"},
        {"after": Cursor(microseconds(at(5)), "e7b2")},
        {"after": Cursor(microseconds(at(6)), "a")},
        {
            "status": [FAILED],
            "func_name": "Mail",
            "tag": "customer",
            "since": at(4),
            "until": at(6),
            "q": "17",
        },
    ],
    ids=str,
)
def test_a_record_matches_when_every_filter_holds(filters: dict[str, Any]):
    assert TaskQuery(**filters).matches(RECORD)


@pytest.mark.parametrize(
    "filters",
    [
        {"status": [SUCCESS, RUNNING]},
        {"func_name": "mail"},
        {"tag": "custom"},
        {"tag": "customer=1"},
        {"tag": "Customer"},
        {"tag": "17"},
        {"since": at(5.000001)},
        {"until": at(5)},
        {"q": "mails"},
        {"q": "17\nc"},
        {"after": Cursor(microseconds(at(5)), "e7b1")},
        {"after": Cursor(microseconds(at(4)), "z")},
        {"status": [FAILED], "func_name": "Mail", "q": "nothing like it"},
    ],
    ids=str,
)
def test_a_record_does_not_match_when_one_filter_fails(filters: dict[str, Any]):
    assert not TaskQuery(**filters).matches(RECORD)


def test_the_first_thousand_characters_of_an_error_can_be_found():
    long = record("a", FAILED, error="x" * 995 + "needle")
    assert TaskQuery(q="xneedl"[:6]).matches(long)
    assert not TaskQuery(q="needle").matches(long)


# What is searched


def test_tags_and_text_to_search_are_what_every_database_takes():
    hostile = TaskRecord("a", "f", tags={"\0": "\ud800", "é": "☃"}, error="A\0\udfffB")
    assert ("\ufffd=?", "é=☃") == labels(hostile)
    assert "f\na\n\ufffd=?\né=☃\na\ufffd?b" == search_text(hostile)


@given(text=st.text("\0\ud800aÄ\n=", max_size=6))
def test_any_tag_can_be_stored(text: str):
    marked = TaskRecord("a", "f", tags={text: text}, error=text)
    for each in (*labels(marked), search_text(marked)):
        assert "\0" not in each.encode().decode()
