from __future__ import annotations

import functools
import json
import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import ConfigurationError, TaskConfig, TaskRecord, TaskStatus
from taskflow.core.models import TERMINAL, TRANSITIONS, FailedAttempt, pending_record
from taskflow.core.names import code_function, qualified_name
from taskflow.core.options import MAX_DELAY

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_status_is_its_text():
    states = ["pending", "running", "retrying", "success", "failed", "interrupted", "cancelled"]

    assert states == list(TaskStatus)


def test_no_arrow_leaves_a_terminal_state():
    assert {frozenset()} == {TRANSITIONS[status] for status in TERMINAL}


def test_the_defaults_of_a_config_are_those_of_the_decorator():
    assert (0, 0.0, 1.0, False, None, False) == tuple(
        getattr(TaskConfig(), name)
        for name in ("retries", "delay", "backoff", "persist", "name", "requeue_on_interrupt")
    )


def test_each_retry_waits_backoff_times_longer():
    config = TaskConfig(retries=4, delay=0.5, backoff=3)

    assert [0.5, 1.5, 4.5, 13.5] == [config.retry_delay(retry) for retry in range(4)]


def test_without_a_delay_no_retry_ever_waits():
    assert 0.0 == TaskConfig(retries=5_000, backoff=2.0).retry_delay(4_999)


@given(
    delay=st.floats(0, allow_infinity=False, allow_nan=False),
    backoff=st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False) | st.integers(1, 10**6),
    retry=st.integers(0, 10_000),
)
def test_a_retry_delay_is_a_number_of_seconds_that_can_be_waited_for(
    delay: float, backoff: float, retry: int
):
    seconds = TaskConfig(retries=retry + 1, delay=delay, backoff=backoff).retry_delay(retry)

    assert isinstance(seconds, float)
    assert 0.0 <= seconds < math.inf


@given(retry=st.integers(0, 3_000))
def test_a_later_retry_never_waits_shorter_than_an_earlier_one(retry: int):
    config = TaskConfig(retries=3_001, delay=60, backoff=2.0)

    assert config.retry_delay(retry) <= config.retry_delay(retry + 1)


def test_an_overflowing_delay_is_ten_years():
    assert MAX_DELAY == TaskConfig(delay=1, backoff=10).retry_delay(10_000)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *[("retries", value) for value in (-1, 1.0, "1", None, True)],
        *[("delay", value) for value in (-0.1, math.inf, math.nan, "1", None, True)],
        *[("backoff", value) for value in (0, -1, math.inf, math.nan, "2", None, True)],
        pytest.param("delay", 10**400, id="delay-too-large"),
        pytest.param("backoff", 10**400, id="backoff-too-large"),
        *[("persist", value) for value in (1, "no", None)],
        *[("requeue_on_interrupt", value) for value in (0, "yes", None)],
        *[("name", value) for value in ("", "  ", 5, b"name")],
    ],
)
def test_a_wrong_value_is_refused_by_name(parameter: str, value: Any):
    with pytest.raises(ConfigurationError, match=rf"^{parameter}=.*: must be ") as refused:
        TaskConfig(**{parameter: value})

    assert (parameter, repr(value)) == (refused.value.parameter, repr(refused.value.value))
    assert isinstance(refused.value, ValueError)


def test_a_record_has_no_duration_before_its_end():
    assert TaskRecord("1", "f", start_time=START).duration is None


def test_a_record_that_was_read_back_knows_its_duration_by_its_times():
    record = TaskRecord("1", "f", start_time=START, end_time=START + timedelta(seconds=1.5))

    assert 1.5 == record.duration


def test_a_record_as_a_dict_is_json_and_tells_no_arguments():
    record = TaskRecord(
        "1",
        "f",
        TaskStatus.FAILED,
        ("secret",),
        {"password": "secret"},
        START,
        encrypted_payload=b"secret",
        tags={"tenant": "acme"},
        logs=["line"],
        error="no",
    )
    text = json.dumps(record.to_dict())

    assert "secret" not in text
    assert "password" not in text
    assert ("failed", "2026-01-01T12:00:00+00:00") == (
        record.to_dict()["status"],
        record.to_dict()["created_at"],
    )


def test_a_record_in_brief_has_what_a_list_shows():
    attempts = [FailedAttempt(START, START, str(n), "Error", 0.0) for n in range(3)]
    record = TaskRecord("1", "f", logs=["line"], stacktrace="Traceback", failed_attempts=attempts)
    record.error = "e" * 3_000
    brief = record.to_dict(brief=True)

    assert record.to_dict().keys() == brief.keys()
    assert ([], None, "e" * 1_000) == (brief["logs"], brief["stacktrace"], brief["error"])
    assert ["2"] == [attempt["error"] for attempt in brief["failed_attempts"]]


def test_a_dict_of_a_record_shares_nothing_with_it():
    record = TaskRecord("1", "f", tags={"a": "b"}, logs=["line"])
    copy = record.to_dict()
    copy["tags"]["a"], copy["logs"][0] = "changed", "changed"

    assert ({"a": "b"}, ["line"]) == (record.tags, record.logs)


def test_a_builtin_class_is_named_bare_and_others_with_their_module():
    assert ["ValueError", "json.decoder.JSONDecodeError"] == [
        qualified_name(ValueError),
        qualified_name(json.JSONDecodeError),
    ]


def test_the_code_of_a_partial_is_what_it_wraps():
    assert "json.dumps" == code_function(functools.partial(functools.partial(json.dumps, 1), indent=2))


class Handler:
    func = None  # an attribute of the user's own, which only happens to be called so

    def __call__(self) -> None: ...

    def method(self) -> None: ...


def test_the_code_of_a_bound_method_is_its_function():
    assert f"{__name__}.Handler.method" == code_function(Handler().method)


def test_the_code_of_a_callable_object_is_its_class():
    assert f"{__name__}.Handler" == code_function(Handler())


def test_a_pending_record_has_what_the_constructor_gives_in_every_field() -> None:
    call = {"args": (1,), "kwargs": {"a": 2}, "max_retries": 3, "durable": True, "registered": True}
    call |= {"code_function": "shop.send", "retry_of": "0"}
    short = pending_record("1", "send", **call)
    now = {"created_at": short.created_at, "state_clock": short.state_clock}
    long = TaskRecord("1", "send", **call, **now)

    names = [field.name for field in fields(TaskRecord)]
    assert {name: getattr(long, name) for name in names} == {name: getattr(short, name) for name in names}
    assert (datetime, float) == (type(short.created_at), type(short.state_clock))
    other = pending_record("2", "send", **call)
    assert all(getattr(short, name) is not getattr(other, name) for name in ("logs", "tags", "left_by"))
