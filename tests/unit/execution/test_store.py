from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import (
    ConfigurationError,
    InMemoryLogger,
    InvalidTransitionError,
    LifecycleEvent,
    LogEvent,
    LoggerChain,
    TaskObserver,
    TaskRecord,
    TaskStatus,
    TaskStore,
)
from taskflow.core.clock import utcnow
from taskflow.core.models import TERMINAL, TRANSITIONS
from taskflow.execution.store import Failure
from taskflow.execution.stream import EventStream
from taskflow.execution.weight import RECORD_BYTES, weight_of

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

FAILURE = Failure("no", "ValueError", "Traceback …")

WAY_TO = {
    PENDING: (),
    RUNNING: (RUNNING,),
    RETRYING: (RUNNING, RETRYING),
    SUCCESS: (RUNNING, SUCCESS),
    FAILED: (RUNNING, FAILED),
    INTERRUPTED: (INTERRUPTED,),
    CANCELLED: (CANCELLED,),
}


def observed_store(**options: Any) -> tuple[TaskStore, InMemoryLogger]:
    seen = InMemoryLogger()
    return TaskStore(stream=EventStream(LoggerChain([seen])), **options), seen


def store_with(status: TaskStatus, **fields: Any) -> tuple[TaskStore, TaskRecord, InMemoryLogger]:
    """A store whose only record, "1", is in that state; what led there was not seen."""
    store, seen = observed_store()
    record = store.create("1", "f", max_retries=3, **fields)
    for step in WAY_TO[status]:
        store.transition("1", step)
    seen.clear()
    return store, record, seen


def fields_of(record: TaskRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in TaskRecord.__slots__}


# The state machine


@pytest.mark.parametrize(
    ("start", "end"),
    [(start, end) for start in TaskStatus for end in TaskStatus if end in TRANSITIONS[start]],
)
def test_every_arrow_is_taken_and_makes_one_event(start: TaskStatus, end: TaskStatus):
    store, record, seen = store_with(start)
    moved = store.transition("1", end)

    assert record is moved
    assert (end, [end]) == (record.status, [event.status for event in seen.lifecycle_events])
    assert (end in TERMINAL) == (record.end_time is not None)


@pytest.mark.parametrize(
    ("start", "end"),
    [(start, end) for start in TaskStatus for end in TaskStatus if end in TRANSITIONS[start]],
)
def test_an_event_has_every_field(start: TaskStatus, end: TaskStatus):
    store, _, seen = store_with(start)
    store.transition("1", end)
    store.create("2", "work")

    for event in seen.lifecycle_events:
        assert event == LifecycleEvent(**{f.name: getattr(event, f.name) for f in fields(event)})


@pytest.mark.parametrize("end", [TaskStatus.RETRYING, TaskStatus.FAILED, TaskStatus.SUCCESS])
def test_the_state_is_set_after_all_that_belongs_to_it(end: TaskStatus):
    class Watched(TaskRecord):
        def __setattr__(self, name: str, value: Any) -> None:
            changed.append(name)
            super().__setattr__(name, value)

    changed: list[str] = []
    store = TaskStore()
    store.add(Watched("1", "work"))
    store.transition("1", TaskStatus.RUNNING)
    changed.clear()
    store.transition("1", end, failure=FAILURE)

    assert "status" == changed[-1]
    assert {"error", "stacktrace", "status"} <= set(changed)


@pytest.mark.parametrize(
    ("start", "end"),
    [(start, end) for start in TaskStatus for end in TaskStatus if end not in TRANSITIONS[start]],
)
def test_every_other_arrow_is_refused_and_changes_nothing(start: TaskStatus, end: TaskStatus):
    store, record, seen = store_with(start)
    before = fields_of(record)
    with pytest.raises(InvalidTransitionError) as refused:
        store.transition("1", end, failure=FAILURE, next_delay=1.0, reason="user")

    assert ("1", start, end) == (refused.value.task_id, refused.value.current, refused.value.wanted)
    assert before == fields_of(record)
    assert [] == seen.lifecycle_events


def test_the_arrows_are_those_of_the_picture():
    arrows = {(start.value, end.value) for start, ends in TRANSITIONS.items() for end in ends}

    assert {
        ("pending", "running"),
        ("running", "success"),
        ("running", "retrying"),
        ("retrying", "running"),
        ("running", "failed"),
        *((start, "interrupted") for start in ("pending", "running", "retrying")),
        *((start, "cancelled") for start in ("pending", "running", "retrying")),
        ("pending", "failed"),
        ("retrying", "failed"),
        ("running", "pending"),
        ("retrying", "pending"),
    } == arrows


def test_an_unknown_task_has_no_transitions():
    store, seen = observed_store()

    assert store.transition("nobody", RUNNING) is None
    assert [] == seen.lifecycle_events


# What an event tells

ALWAYS = {
    "task_id",
    "func_name",
    "status",
    "timestamp",
    "attempt",
    "retries_used",
    "max_retries",
    "tags",
    "registered",
    "code_function",
}


def told(event: LifecycleEvent) -> set[str]:
    """The fields that say something, besides those that every event has."""
    return {name for name in LifecycleEvent.__slots__ if getattr(event, name) is not None} - ALWAYS


def test_each_event_has_the_fields_that_apply_and_no_others():
    store, seen = observed_store()
    identity = {"tags": {"tenant": "acme"}, "registered": True, "code_function": "app.f", "max_retries": 1}
    store.create("1", "f", **identity)
    store.transition("1", RUNNING, slot=("async", 0.5))
    store.transition("1", RETRYING, failure=FAILURE, next_delay=2.0)
    store.transition("1", RUNNING, slot=("async", 0.0))
    store.transition("1", FAILED, failure=FAILURE)
    failure = {"error", "error_type", "stacktrace"}

    assert [
        set(),
        {"slot_wait", "pool", "queue_duration"},
        {"attempt_duration", "next_delay", *failure},
        {"slot_wait", "pool"},
        {"attempt_duration", "duration", *failure},
    ] == [told(event) for event in seen.lifecycle_events]
    assert [0, 0, 0, 1, 1] == [event.attempt for event in seen.lifecycle_events]
    assert [0, 0, 1, 1, 1] == [event.retries_used for event in seen.lifecycle_events]
    for event in seen.lifecycle_events:
        assert identity == {name: getattr(event, name) for name in identity}
        assert event.timestamp.utcoffset() is not None
    assert ("async", 0.5) == (seen.lifecycle_events[1].pool, seen.lifecycle_events[1].slot_wait)
    assert 2.0 == seen.lifecycle_events[2].next_delay
    assert ("no", "ValueError", "Traceback …") == (
        seen.lifecycle_events[4].error,
        seen.lifecycle_events[4].error_type,
        seen.lifecycle_events[4].stacktrace,
    )


def test_a_success_tells_its_durations_only():
    store, _, seen = store_with(RUNNING)
    store.transition("1", SUCCESS)

    assert {"attempt_duration", "duration"} == told(seen.lifecycle_events[0])


@pytest.mark.parametrize("end", [INTERRUPTED, CANCELLED])
@pytest.mark.parametrize(
    ("start", "durations"),
    [(PENDING, set()), (RUNNING, {"attempt_duration", "duration"}), (RETRYING, {"duration"})],
)
def test_a_stop_tells_its_reason_and_the_durations_there_are(
    start: TaskStatus, durations: set[str], end: TaskStatus
):
    store, record, seen = store_with(start)
    store.transition("1", end, reason="user")

    assert {"reason", *durations} == told(seen.lifecycle_events[0])
    assert "user" == record.reason


def test_a_requeued_task_that_starts_again_has_no_second_queue_duration():
    store, record, seen = store_with(RUNNING)
    started = record.start_time
    store.transition("1", PENDING, reason="requeued")
    store.transition("1", RUNNING, slot=("thread", 0.0))

    assert {"slot_wait", "pool"} == told(seen.lifecycle_events[1])
    assert started == record.start_time


def test_durations_are_measured_on_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch):
    clock = iter([100.0, 103.0, 107.0, 120.0, 121.0])
    monkeypatch.setattr("taskflow.execution.store.time.monotonic", lambda: next(clock))
    store, seen = observed_store()
    store.add(TaskRecord("1", "f", state_clock=next(clock)))
    store.transition("1", RUNNING)
    store.transition("1", RETRYING)
    store.transition("1", RUNNING)
    store.transition("1", SUCCESS)
    events = seen.lifecycle_events

    assert (3.0, 4.0, 1.0) == (
        events[1].queue_duration,
        events[2].attempt_duration,
        events[4].attempt_duration,
    )
    assert (18.0, 18.0) == (events[4].duration, store.list()[0].duration)


def test_a_success_forgets_the_failures_before_it():
    store, record, _ = store_with(RUNNING)
    store.transition("1", RETRYING, failure=FAILURE)
    failed = record.error
    store.transition("1", RUNNING)
    store.transition("1", SUCCESS)

    assert ("no", None, None, None) == (failed, record.error, record.error_type, record.stacktrace)


# Order


def test_events_of_one_task_reach_the_observers_in_order_whichever_threads_made_them():
    entered, released = threading.Event(), threading.Event()

    class Slow(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            if event.status is RUNNING:
                entered.set()
                released.wait()

    seen = InMemoryLogger()
    store = TaskStore(stream=EventStream(LoggerChain([Slow(), seen])))
    store.create("1", "f")
    thread = threading.Thread(target=store.transition, args=("1", RUNNING))
    thread.start()
    entered.wait()
    store.transition("1", INTERRUPTED, reason="shutdown")  # does not wait for the slow observer
    early = [event.status for event in seen.lifecycle_events]
    released.set()
    thread.join()

    assert [PENDING] == early
    assert [PENDING, RUNNING, INTERRUPTED] == [event.status for event in seen.lifecycle_events]


def test_a_slow_observer_of_one_task_does_not_hold_up_the_others():
    entered, released = threading.Event(), threading.Event()

    class Slow(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            if event.task_id == "slow":
                entered.set()
                released.wait()

    seen = InMemoryLogger()
    store = TaskStore(stream=EventStream(LoggerChain([Slow(), seen])))
    thread = threading.Thread(target=store.create, args=("slow", "f"))
    thread.start()
    entered.wait()
    store.create("quick", "f")
    early = [event.task_id for event in seen.lifecycle_events]
    released.set()
    thread.join()

    assert ["quick"] == early


def test_an_observer_may_call_the_store():
    class Calling(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            store.append_log(event.task_id, event.status)
            store.list()
            if event.status is PENDING:
                store.transition(event.task_id, CANCELLED)

    seen = InMemoryLogger()
    store = TaskStore(stream=EventStream(LoggerChain([Calling(), seen])))
    record = store.create("1", "f")

    assert [PENDING, CANCELLED] == [event.status for event in seen.lifecycle_events]
    assert ["pending", "cancelled"] == record.logs


def test_of_many_threads_that_end_a_task_one_succeeds():
    store, seen = observed_store()
    store.create("1", "f")
    start = threading.Barrier(8)

    def end(status: TaskStatus) -> bool:
        start.wait()
        try:
            return store.transition("1", status) is not None
        except InvalidTransitionError:
            return False

    with ThreadPoolExecutor(8) as threads:
        ended = list(threads.map(end, [CANCELLED, INTERRUPTED, FAILED, CANCELLED] * 2))

    assert 1 == sum(ended)
    assert 2 == len(seen.lifecycle_events)


def test_without_a_reader_no_event_is_made(monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object, **kwargs: object):
        raise AssertionError("an event was made")

    monkeypatch.setattr("taskflow.execution.store.LifecycleEvent", refuse)
    store = TaskStore()
    store.create("1", "f")
    store.transition("1", RUNNING)
    store.transition("1", SUCCESS)

    assert SUCCESS == store.list()[0].status


# Records


def test_a_second_task_with_one_id_is_refused():
    store = TaskStore()
    store.create("1", "f")
    with pytest.raises(ValueError, match="there is a task with id '1' already"):
        store.create("1", "g")

    assert ["f"] == [record.func_name for record in store]


def test_records_are_listed_oldest_first():
    store = TaskStore()
    for task_id in "bac":
        store.create(task_id, "f")
    store.transition("a", CANCELLED)

    assert ["b", "a", "c"] == [record.task_id for record in store.list()]
    assert ["b", "c"] == [record.task_id for record in store.live()]
    assert 3 == len(store)


def test_an_update_sets_fields():
    store = TaskStore()
    store.create("1", "f")
    record = store.update("1", error="no", tags={"a": "b"})

    assert record is store.get("1")
    assert record is not None
    assert ("no", {"a": "b"}) == (record.error, record.tags)


def test_an_updated_status_goes_through_the_state_machine():
    store, record, seen = store_with(RUNNING)
    store.update("1", status="failed", error="no", error_type="ValueError")

    assert FAILED is record.status
    assert [(FAILED, "no", "ValueError")] == [
        (event.status, event.error, event.error_type) for event in seen.lifecycle_events
    ]
    with pytest.raises(InvalidTransitionError):
        store.update("1", status="running", error="other")
    assert "no" == record.error


def test_an_update_of_an_unknown_task_is_nothing():
    assert TaskStore().update("nobody", error="no") is None


def test_an_update_of_an_unknown_field_is_refused():
    store = TaskStore()
    store.create("1", "f")
    with pytest.raises(TypeError, match="TaskRecord has no field colour"):
        store.update("1", colour="red")


def test_a_key_belongs_to_its_function():
    store = TaskStore()
    mail = store.create("1", "mail", idempotency_key="key")
    report = store.create("2", "report", idempotency_key="key")
    assert (mail, report) == (
        store.find_by_idempotency_key("key", "mail"),
        store.find_by_idempotency_key("key", "report"),
    )
    assert report is store.create("3", "report", idempotency_key="key")
    assert mail is store.find_by_idempotency_key("key")
    assert store.find_by_idempotency_key("key", "other") is None


def test_a_function_lets_go_of_its_own_key_alone():
    store = TaskStore()
    store.create("1", "mail", idempotency_key="key")
    report = store.create("2", "report", idempotency_key="key")
    store.transition("1", CANCELLED)
    assert store.find_by_idempotency_key("key", "mail") is None
    assert report is store.find_by_idempotency_key("key") is store.find_by_idempotency_key("key", "report")
    store.transition("2", CANCELLED)
    assert store.find_by_idempotency_key("key") is None


def test_a_key_goes_along_to_another_function():
    store = TaskStore()
    record = store.create("1", "mail", idempotency_key="key")
    store.update("1", func_name="report")
    assert store.find_by_idempotency_key("key", "mail") is None
    assert record is store.find_by_idempotency_key("key", "report")


def test_an_updated_idempotency_key_is_found():
    store = TaskStore()
    store.create("1", "f")
    store.update("1", idempotency_key="key")

    assert store.get("1") is store.find_by_idempotency_key("key")


def test_clear_forgets_everything():
    store = TaskStore(max_history=1)
    store.create("1", "f", idempotency_key="key")
    store.create("2", "f")
    store.transition("2", CANCELLED)
    store.clear()

    assert (0, None, []) == (len(store), store.find_by_idempotency_key("key"), store.live())
    store.create("1", "f")
    store.transition("1", CANCELLED)
    assert ["1"] == [record.task_id for record in store]


# Idempotency keys


@pytest.mark.parametrize("status", [PENDING, RUNNING, RETRYING, SUCCESS])
def test_a_key_is_held_by_a_task_that_may_still_succeed_or_has(status: TaskStatus):
    store, record, seen = store_with(status, idempotency_key="key")

    assert record is store.create("2", "f", idempotency_key="key")
    assert record is store.find_by_idempotency_key("key")
    assert (1, []) == (len(store), seen.lifecycle_events)


@pytest.mark.parametrize("status", [FAILED, INTERRUPTED, CANCELLED])
def test_a_key_is_released_by_a_task_that_did_not_succeed(status: TaskStatus):
    store, record, _ = store_with(status, idempotency_key="key")

    assert store.find_by_idempotency_key("key") is None
    assert record is not store.create("2", "f", idempotency_key="key")


def test_a_key_is_released_with_the_record_that_holds_it():
    store = TaskStore(max_history=1)
    for task_id in "12":
        store.create(task_id, "f", idempotency_key=f"key {task_id}")
        store.transition(task_id, RUNNING)
        store.transition(task_id, SUCCESS)

    assert store.find_by_idempotency_key("key 1") is None
    assert "2" == store.create("3", "f", idempotency_key="key 2").task_id


def test_the_eviction_of_a_task_that_released_its_key_leaves_the_next_holder_its_own():
    store = TaskStore(max_history=1)
    store.create("1", "f", idempotency_key="key")
    store.transition("1", CANCELLED)
    holder = store.create("2", "f", idempotency_key="key")
    store.create("3", "f")
    store.transition("3", CANCELLED)

    assert store.get("1") is None
    assert holder is store.find_by_idempotency_key("key")


# History


def test_the_oldest_finished_records_leave_first_and_live_ones_never():
    store = TaskStore(max_history=2)
    store.create("live", "f")
    for task_id in "1234":
        store.create(task_id, "f")
    for task_id in "4321":
        store.transition(task_id, CANCELLED)

    assert ["live", "1", "2"] == [record.task_id for record in store]


@pytest.mark.parametrize("name", ["max_history", "max_history_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None, True, "10"])
def test_a_wrong_history_is_refused(name: str, value: Any):
    with pytest.raises(ConfigurationError, match=rf"^{name}=.*at least 1"):
        TaskStore(**{name: value})


def failed(store: TaskStore, task_id: str, size: int = 0, **fields: Any) -> TaskRecord:
    record = store.create(task_id, "f", (bytes(size),), **fields)
    store.transition(task_id, RUNNING)
    store.transition(task_id, FAILED, failure=FAILURE)
    return record


def test_the_oldest_finished_records_leave_when_they_take_too_many_bytes():
    store = TaskStore(max_history_bytes=350_000)
    store.create("live", "f", (bytes(1_000_000),))
    for number in range(10):
        failed(store, str(number), 100_000)

    assert ["live", "7", "8", "9"] == [record.task_id for record in store]
    assert 300_000 < store.history_bytes < 310_000


def test_the_latest_finished_record_stays_however_large_it_is():
    store = TaskStore(max_history_bytes=1_000)
    failed(store, "1", 10_000)
    record = failed(store, "2", 1_000_000)

    assert [record] == store.list()
    assert 1_000_000 == len(record.args[0])


def test_many_small_records_are_bounded_by_bytes_as_well():
    store = TaskStore(max_history_bytes=20_000)
    for number in range(100):
        store.create(str(number), "f")
        store.transition(str(number), RUNNING)
        store.transition(str(number), SUCCESS)

    assert (20, 20_000) == (len(store), store.history_bytes)


def test_the_bytes_of_the_history_are_those_of_its_records():
    store = TaskStore(max_history=2)
    for number, size in enumerate([10_000, 20_000, 40_000]):
        failed(store, str(number), size)
    before = store.history_bytes
    store.append_log("2", "x" * 5_000)
    store.update("2", error="x" * 7_000)
    after = store.history_bytes
    store.forget("2")
    alone = store.history_bytes
    store.clear()

    assert before == pytest.approx(60_000, abs=5_000)
    assert after - before == pytest.approx(12_000, abs=200)
    assert alone == pytest.approx(20_000, abs=2_500)
    assert 0 == store.history_bytes


def test_a_task_that_was_forgotten_and_adopted_does_not_leave_with_the_history():
    store = TaskStore(max_history=1)
    failed(store, "1")
    store.forget("1")
    again = TaskRecord("1", "f")
    store.adopt(again, "requeued")
    failed(store, "2")
    failed(store, "3")

    assert {"1", "3"} == {record.task_id for record in store}
    assert again is store.get("1")


# Arguments


@pytest.mark.parametrize(
    "given", [{"args": ([1],)}, {"kwargs": {"a": [1]}}, {"payload": b"{}"}, {"encrypted_payload": b"token"}]
)
@pytest.mark.parametrize("end", sorted(TERMINAL))
def test_arguments_are_let_go_at_a_success_and_kept_for_a_retry_otherwise(
    end: TaskStatus, given: dict[str, Any]
):
    store = TaskStore()
    record = store.create("1", "f", **given)
    for status in WAY_TO[end]:
        store.transition("1", status)
    kept = {name: getattr(record, name) for name in given}
    nothing: Any = {"args": (), "kwargs": {}}

    assert (given == kept, record.arguments_kept) == ((False, False) if end is SUCCESS else (True, True))
    if end is SUCCESS:
        assert {name: nothing.get(name) for name in given} == kept


def test_what_had_no_arguments_still_has_none_after_a_success():
    _, record, _ = store_with(SUCCESS)

    assert ((), {}, True) == (record.args, record.kwargs, record.arguments_kept)


# Interrupts


def test_an_interrupt_while_an_event_is_told_does_not_silence_the_later_ones():
    class Interrupted(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            if event.status is RUNNING:
                store.transition("1", SUCCESS)  # as another thread may do meanwhile
                raise KeyboardInterrupt

    seen = InMemoryLogger()
    store = TaskStore(stream=EventStream(LoggerChain([seen, Interrupted()])))
    record = store.create("1", "f")
    with pytest.raises(KeyboardInterrupt):
        store.transition("1", RUNNING)

    assert record.backlog is None
    assert [PENDING, RUNNING, SUCCESS] == [event.status for event in seen.lifecycle_events]


# Logs


def test_a_task_keeps_the_first_and_the_last_of_many_lines():
    store = TaskStore()
    record = store.create("1", "f")
    for number in range(2_000):
        store.append_log("1", str(number))
    first, remark, last = record.logs[0], record.logs[500], record.logs[-1]

    assert ("0", "… cut: 1,000 lines", "1999") == (first, remark[:18], last)


def test_lines_of_a_task_that_came_from_another_process_are_followed_by_new_ones():
    store = TaskStore()
    store.adopt(TaskRecord("1", "f", logs=["before"]), "rescued")
    store.append_log("1", "after")

    assert ["before", "after"] == store.list()[0].logs


def test_log_lines_are_kept_with_their_time_and_level():
    store, seen = observed_store()
    record = store.create("1", "f")
    event = LogEvent(task_id="1", func_name="f", message="hello", level="warning", timestamp=utcnow())
    store.log(event)
    stamp = event.timestamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    assert [f"{stamp} WARNING hello"] == record.logs
    assert [event] == seen.log_events


def test_a_line_of_a_forgotten_task_is_still_delivered():
    store, seen = observed_store()
    store.log(LogEvent(task_id="1", func_name="f", message="late", level="info", timestamp=utcnow()))

    assert ["late"] == [event.message for event in seen.log_events]


def test_a_record_with_everything_on_it_is_json():
    store, record, _ = store_with(RUNNING, tags={"a": "b"}, idempotency_key="key")
    store.append_log("1", "line")
    store.transition("1", FAILED, failure=FAILURE)

    assert record.to_dict() == json.loads(json.dumps(record.to_dict()))


def test_the_end_of_a_task_that_started_in_another_process_tells_how_long_it_took():
    store, seen = observed_store()
    started = utcnow() - timedelta(seconds=5)
    record = TaskRecord("1", "f", RUNNING, created_at=started, start_time=started)
    store.adopt(record, "rescued")
    store.transition("1", INTERRUPTED, reason="rescued")
    (event,) = seen.lifecycle_events
    assert event.duration == record.duration
    assert event.duration is not None
    assert event.duration >= 5


def test_a_transition_of_a_record_leaves_a_later_one_with_its_id_alone():
    store, stale, seen = store_with(RUNNING)
    store.forget("1")
    later = store.create("1", "f")
    store.transition("1", RUNNING)
    seen.clear()
    assert store.transition("1", SUCCESS, only=stale) is None
    assert (RUNNING, []) == (later.status, seen.lifecycle_events)
    assert store.transition("1", SUCCESS, only=later) is later


def test_who_changes_a_record_as_soon_as_it_can_be_found_comes_after_its_first_event():
    store, seen = observed_store()

    class Stepping:
        """The store's lock; as soon as the record is in it, another thread cancels the task."""

        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()
            if len(store) and not others:
                others.append(threading.Thread(target=store.transition, args=("1", CANCELLED)))
                others[0].start()
                others[0].join()

    others: list[threading.Thread] = []
    lock, store._lock = store._lock, Stepping()  # type: ignore[assignment]
    store.create("1", "f")
    assert [PENDING, CANCELLED] == [event.status for event in seen.lifecycle_events]


def test_a_task_that_was_forgotten_and_has_come_back_does_not_count_as_one_that_has_ended():
    store = TaskStore(max_history=3)
    store.create("a", "f")
    store.transition("a", INTERRUPTED, reason="lease_lost")
    store.forget("a")
    store.adopt(TaskRecord("a", "f"), "rescued")
    store.transition("a", RUNNING)
    for number in range(5):
        store.create(str(number), "f")
        store.transition(str(number), CANCELLED)
    assert [record.task_id for record in store] == ["a", "2", "3", "4"]
    store.transition("a", SUCCESS)
    assert [record.task_id for record in store] == ["a", "3", "4"]


CLOCKS = {"state_clock", "started_clock", "elapsed", "start_time", "end_time", "attempt_started"}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"args": (1,), "kwargs": {"a": 2}},
        {"payload": b"{}", "durable": True},
        {"encrypted_payload": b"gAAA"},
        {"tags": {"shop": "7"}, "preview": ("1",)},
        {"idempotency_key": "key"},
        {"logs": ["2026-01-01T00:00:00.000000Z INFO a line"]},
        {"retries_used": 1, "max_retries": 1, "error": "no"},
        {"status": RUNNING, "start_time": utcnow(), "attempt_started": utcnow()},
        {"start_time": utcnow(), "attempt_started": utcnow()},
        {"reason": "requeued", "rescues": 1, "left_by": ["a"]},
    ],
    ids=lambda said: "-".join(said) or "nothing",
)
def test_start_and_succeed_leave_what_transition_leaves(said: dict[str, Any]) -> None:
    def lived(start: Callable[..., Any], succeed: Callable[..., Any]) -> tuple[dict[str, Any], int]:
        store = TaskStore()
        created = {"created_at": datetime(2026, 1, 1, tzinfo=UTC)} | copy.deepcopy(said)
        record = store.add(TaskRecord("1", "f", **created))
        start(store, record)
        succeed(store, record)
        fields = fields_of(record)
        for name in CLOCKS:
            fields[name] = None if fields[name] is None else type(fields[name])
        return fields, store.history_bytes

    short = lived(lambda s, r: s.start(r, "async", 0.0), lambda s, r: s.succeed(r))
    long = lived(
        lambda s, r: r.status is RUNNING or s.transition("1", RUNNING),
        lambda s, r: s.transition("1", SUCCESS),
    )
    assert long == short


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("status", TaskStatus)
def test_start_and_succeed_refuse_what_transition_refuses(status: TaskStatus, observed: bool) -> None:
    for move, target in ((lambda s, r: s.start(r, "async", 0.0), RUNNING), (TaskStore.succeed, SUCCESS)):
        store = observed_store()[0] if observed else TaskStore()
        record = store.add(TaskRecord("1", "f", max_retries=3))
        for step in WAY_TO[status]:
            store.transition("1", step)
        before = fields_of(record)
        allowed = target in TRANSITIONS[status]
        assert allowed == move(store, record)
        assert (target if allowed else status) is record.status
        assert allowed or before == fields_of(record)


def test_start_and_succeed_refuse_a_record_that_the_store_has_no_more() -> None:
    store = TaskStore()
    gone = store.add(TaskRecord("1", "f"))
    store.forget("1")
    store.add(TaskRecord("1", "f"))
    assert not store.start(gone, "async", 0.0)
    gone.status = RUNNING
    assert not store.succeed(gone)
    assert PENDING is store.get("1").status


def test_what_is_added_twice_is_refused_by_its_id_with_and_without_a_reader() -> None:
    for store in (TaskStore(), observed_store()[0]):
        first = store.add(TaskRecord("1", "f"))
        with pytest.raises(ValueError, match="there is a task with id '1' already"):
            store.add(TaskRecord("1", "f"))
        assert first is store.get("1")


@given(
    steps=st.lists(
        st.one_of(
            st.integers(0, 2_000).map(lambda size: ("line", "x" * size)),
            st.just(("lines", ["by hand", "again"])),
            st.just(("tags", {"shop": "7"})),
            st.just(("end", None)),
        ),
        max_size=14,
    ),
    ending=st.sampled_from([SUCCESS, FAILED]),
)
def test_the_history_weighs_what_its_records_weigh(steps: list[tuple[str, Any]], ending: TaskStatus) -> None:
    store = TaskStore()
    record = store.create("1", "f", (1,))
    store.transition("1", RUNNING)
    for step, value in [*steps, ("end", None)]:
        if step == "line":
            store.append_log("1", value)
        elif step != "end":
            store.update("1", **{"logs" if step == "lines" else step: copy.copy(value)})
        elif not record.finished:
            store.transition("1", ending, FAILURE if ending is FAILED else None)
        if record.finished:
            assert RECORD_BYTES + weight_of(record) == store.history_bytes
    store.forget("1")
    assert 0 == store.history_bytes
