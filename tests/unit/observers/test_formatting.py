from __future__ import annotations

import json
import math
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.models import TaskStatus
from taskflow.observers.formatting import DURATION_KEYS, FORMATS, TEXT_KEYS, lifecycle_level
from taskflow.observers.plain import MAX_VALUES, plain

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
TASK_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"

# Every character, lone surrogates included: hypothesis leaves those out of st.text() by itself.
any_text = st.text(st.characters(exclude_categories=()))


def log_event(message: str = "hello", **fields: Any) -> LogEvent:
    given = {"task_id": TASK_ID, "func_name": "send_email", "level": "info", "timestamp": NOON, **fields}
    return LogEvent(message=message, **given)


def lifecycle_event(status: TaskStatus, **fields: Any) -> LifecycleEvent:
    return LifecycleEvent(task_id=TASK_ID, func_name="send_email", status=status, timestamp=NOON, **fields)


def line_of(format: str, event: LogEvent | LifecycleEvent) -> str:
    return FORMATS[format].log(event) if isinstance(event, LogEvent) else FORMATS[format].lifecycle(event)


def json_of(event: LogEvent | LifecycleEvent) -> dict[str, Any]:
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    parsed: dict[str, Any] = json.loads(line_of("json", event), parse_constant=no_constants)
    return parsed


def test_a_text_line_has_id_name_time_and_message():
    assert line_of("text", log_event("sent")) == "[0f8fad5b] [send_email] 2026-01-01T12:00:00 sent\n"


@pytest.mark.parametrize("status", ["pending", "running", "success"])
def test_a_text_line_of_a_task_that_goes_on_has_only_the_state(status):
    event = lifecycle_event(TaskStatus(status), max_retries=3, duration=1.0)

    assert line_of("text", event) == f"[0f8fad5b] [send_email] 2026-01-01T12:00:00 -- {status.upper()}\n"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            lifecycle_event(
                TaskStatus.RETRYING,
                attempt=1,
                max_retries=3,
                next_delay=2.0,
                error_type="ValueError",
                error="boom",
            ),
            "RETRYING (attempt 2/4, retry in 2.0 s): ValueError: boom",
        ),
        (lifecycle_event(TaskStatus.FAILED, error_type="ValueError", error=""), "FAILED: ValueError"),
        (lifecycle_event(TaskStatus.FAILED, reason="poison"), "FAILED (poison)"),
        (lifecycle_event(TaskStatus.INTERRUPTED, reason="shutdown"), "INTERRUPTED (shutdown)"),
        (lifecycle_event(TaskStatus.CANCELLED), "CANCELLED"),
    ],
)
def test_a_line_of_a_task_that_did_not_simply_go_on_says_what_happened(event, words):
    assert line_of("text", event) == f"[0f8fad5b] [send_email] 2026-01-01T12:00:00 -- {words}\n"
    assert json_of(event)["message"] == words


def test_a_time_in_another_zone_is_written_in_utc():
    zone = timezone(timedelta(hours=5, minutes=30))
    event = log_event(timestamp=datetime(2026, 7, 1, 3, 0, 0, 5, tzinfo=zone))

    assert line_of("text", event) == "[0f8fad5b] [send_email] 2026-06-30T21:30:00 hello\n"
    assert json_of(event)["timestamp"] == "2026-06-30T21:30:00.000005Z"


@given(st.lists(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)), min_size=2, max_size=5))  # noqa: DTZ001
def test_each_line_has_its_own_time_in_whatever_order_they_come(moments):
    times = [json_of(log_event(timestamp=moment))["timestamp"] for moment in moments]

    assert times == [moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in moments]


def test_newlines_and_escape_codes_are_written_out_in_text():
    event = log_event("a\r\nb\tc\x1b[31m\x00\x7f\x85\u2028\u2029\u202e\ud800", func_name="x\ny")

    assert line_of("text", event) == (
        "[0f8fad5b] [x\\ny] 2026-01-01T12:00:00 "
        "a\\r\\nb\\tc\\x1b[31m\\x00\\x7f\\x85\\u2028\\u2029\\u202e\\ud800\n"
    )


def test_control_characters_are_written_out_in_json():
    line = line_of("json", log_event("a\x1b[31m\x7f")) + line_of("json", log_event("\x85\u2028\u202e"))

    assert all(character.isprintable() for character in line.replace("\n", ""))


def test_ordinary_text_of_any_language_stays_readable_in_both_formats():
    message = "Grüße 東京 👩‍👩‍👧 a\u00a0b C:\\temp"

    assert line_of("text", log_event(message)) == f"[0f8fad5b] [send_email] 2026-01-01T12:00:00 {message}\n"
    assert "Grüße 東京 👩‍👩‍👧" in line_of("json", log_event(message))


def test_a_json_log_line_has_exactly_the_promised_keys():
    assert json_of(log_event("hi", level="warning", attempt=2, tags={"a": "b"}, extra={"rows": 3})) == {
        "timestamp": "2026-01-01T12:00:00.123456Z",
        "level": "warning",
        "message": "hi",
        "task_id": TASK_ID,
        "func_name": "send_email",
        "attempt": 2,
        "status": None,
        "duration": None,
        "error": None,
        "tags": {"a": "b"},
        "extra": {"rows": 3},
        "trace_id": None,
        "span_id": None,
    }


def test_a_json_lifecycle_line_adds_only_the_keys_that_are_set():
    event = lifecycle_event(
        TaskStatus.FAILED,
        duration=1.5,
        attempt_duration=0.5,
        error="boom",
        error_type="ValueError",
        stacktrace="Traceback:\n  boom",
        retry_of="other",
        tags={"tenant": "acme"},
    )

    assert json_of(event) == {
        "timestamp": "2026-01-01T12:00:00.123456Z",
        "level": "error",
        "message": "FAILED: ValueError: boom",
        "task_id": TASK_ID,
        "func_name": "send_email",
        "attempt": 0,
        "status": "failed",
        "duration": 1.5,
        "error": "boom",
        "tags": {"tenant": "acme"},
        "extra": {},
        "trace_id": None,
        "span_id": None,
        "error_type": "ValueError",
        "stacktrace": "Traceback:\n  boom",
        "retry_of": "other",
        "attempt_duration": 0.5,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [*((key, 0.25) for key in DURATION_KEYS), *((key, "some text") for key in TEXT_KEYS)],
)
def test_each_optional_key_is_in_the_line_as_soon_as_it_is_set(key, value):
    without = json_of(lifecycle_event(TaskStatus.FAILED))

    line = json_of(lifecycle_event(TaskStatus.FAILED, **{key: value}))

    assert {key: value} == {name: line[name] for name in line.keys() - without.keys()}


def test_a_state_has_the_level_that_a_reader_would_give_it():
    assert {status.value: lifecycle_level(status) for status in TaskStatus} == {
        "pending": "info",
        "running": "info",
        "retrying": "warning",
        "success": "info",
        "failed": "error",
        "interrupted": "warning",
        "cancelled": "warning",
    }


def test_trace_ids_are_those_of_the_span_that_was_current_when_the_event_was_made():
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("run") as span:
        lines = [json_of(log_event()), json_of(lifecycle_event(TaskStatus.RUNNING))]
    context = span.get_span_context()

    expected = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert [(line["trace_id"], line["span_id"]) for line in lines] == [expected, expected]


@given(any_text, any_text)
def test_any_message_is_exactly_one_line_of_utf8(message, name):
    for format in FORMATS:
        line = line_of(format, log_event(message, func_name=name, tags={name: message}, extra={"x": message}))

        assert line.encode("utf-8").decode("utf-8").splitlines(keepends=True) == [line]


@given(st.text())
def test_any_message_reads_back_unchanged_from_json(message):
    line = json_of(log_event(message, tags={"tag": message}, extra={"key": message}))

    assert (line["message"], line["tags"], line["extra"]) == (message, {"tag": message}, {"key": message})


def test_a_lone_surrogate_reads_back_from_json_as_its_escape():
    assert json_of(log_event("a\ud83d\ude00b"))["message"] == "a\\ud83d\\ude00b"


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


@dataclass
class Point:
    x: int


class Opaque:
    pass


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Panicking:
    """As the objects of extensions whose panics are no `Exception`."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Shy(type):
    def __getattribute__(cls, name: str) -> Any:
        raise LookupError(name)


class Nameless(metaclass=Shy): ...


class Unlisted(dict[str, int]):
    """A dict whose items cannot be had."""

    def items(self) -> Any:
        raise LookupError("gone")


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (10**5000, f"<int of {(10**5000).bit_length()} bits>"),
        (NOON, "2026-01-01T12:00:00.123456+00:00"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(minutes=1), 60.0),
        (UUID(TASK_ID), TASK_ID),
        (Decimal("1.10"), "1.10"),
        (PurePosixPath("/var/log"), "/var/log"),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        (Colour.RED, "red"),
        (Size.SMALL, 1),
        ({1}, [1]),
        (Pair(1, "b"), [1, "b"]),
        ({1: {None: True}, (1, 2): 3}, {"1": {"None": True}, "[1, 2]": 3}),
        (ValueError("boom"), "ValueError: boom"),
        (Point(1), "Point(x=1)"),
        (Opaque(), f"<{__name__}.Opaque>"),
        (Hostile(), f"<{__name__}.Hostile: RuntimeError when read>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_extra_values_that_json_does_not_have_become_readable_text(value, expected):
    assert json_of(log_event(extra={"value": value}))["extra"] == {"value": expected}


def test_extra_values_that_cannot_be_read_do_not_lose_the_line():
    # Made here: pytest would ask them for their names.
    values = {"a": Panicking(), "b": Nameless(), "c": Unlisted(n=1), "d": [Unlisted(n=1)]}
    here = __name__

    assert json_of(log_event(extra=values))["extra"] == {
        "a": f"<{here}.Panicking: SystemExit when read>",
        "b": f"<{here}.Nameless: LookupError when read>",
        "c": f"<{here}.Unlisted: LookupError when read>",
        "d": [f"<{here}.Unlisted: LookupError when read>"],
    }


def test_ctrl_c_while_a_value_is_read_goes_through():
    class Interrupted:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        json_of(log_event(extra={"value": Interrupted()}))


def test_values_that_contain_themselves_or_have_no_end_do_not_lose_the_line():
    cycle: list[Any] = []
    cycle += [cycle, cycle, cycle]
    deep: Any = "bottom"
    for _ in range(50_000):
        deep = [{"in": deep}]
    many = list(range(MAX_VALUES * 2))

    line = json_of(log_event(extra={"cycle": cycle, "lists": deep, "mappings": deep[0], "many": many}))

    assert line["message"] == "hello"
    assert line["extra"]["lists"] == [{"in": [{"in": [{"in": [{"in": "…"}]}]}]}]
    assert line["extra"]["mappings"] == {"in": [{"in": [{"in": [{"in": ["…"]}]}]}]}
    assert len(line["extra"]["many"]) <= MAX_VALUES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=3))
def test_values_that_json_has_are_not_changed(values):
    assert json_of(log_event(extra=values))["extra"] == values
    assert plain(values) == values


def test_a_tag_that_is_not_text_does_not_lose_the_line():
    assert json_of(log_event(tags={"n": 1, "when": NOON}))["tags"] == {
        "n": 1,
        "when": "2026-01-01T12:00:00.123456+00:00",
    }
