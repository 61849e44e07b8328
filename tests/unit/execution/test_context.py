from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from dataclasses import fields
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from taskflow import (
    InMemoryLogger,
    LogEvent,
    TaskContext,
    TaskLogFilter,
    TaskManager,
    get_task_context,
    task_log,
)


def observed_manager() -> tuple[TaskManager, InMemoryLogger]:
    seen = InMemoryLogger()
    return TaskManager(loggers=[seen]), seen


def helper():
    task_log("from a helper", level="warning", size=3)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_line_tells_its_task(is_async: bool):
    manager, seen = observed_manager()

    def sync_work():
        helper()

    async def work():
        await asyncio.sleep(0)
        helper()

    task_id = manager.enqueue(work if is_async else sync_work, tags={"tenant": "acme"})
    await manager.drain()
    (line,) = seen.log_events

    assert (task_id, "work" if is_async else "sync_work") == (line.task_id, line.func_name)
    assert ("from a helper", "warning", {"size": 3}) == (line.message, line.level, line.extra)
    assert (0, {"tenant": "acme"}) == (line.attempt, line.tags)
    assert line.timestamp.utcoffset() is not None
    assert line == LogEvent(**{f.name: getattr(line, f.name) for f in fields(line)})  # has every field


async def test_a_line_is_kept_on_the_record_even_without_observers():
    manager = TaskManager()
    task_id = manager.enqueue(helper)
    await manager.drain()
    (line,) = manager.store.get(task_id).logs  # type: ignore[union-attr]

    assert line.endswith("Z WARNING from a helper")


async def test_a_message_that_is_no_text_is_its_text():
    manager, seen = observed_manager()
    manager.enqueue(lambda: task_log(5))  # type: ignore[arg-type]
    await manager.drain()

    assert ["5"] == [line.message for line in seen.log_events]


async def test_lines_come_from_what_a_task_starts_too():
    manager, seen = observed_manager()

    async def child():
        task_log("task")

    async def work():
        await asyncio.create_task(child())
        await asyncio.to_thread(task_log, "thread of asyncio")
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(task_log, "thread with a copied context"))
        thread.start()
        thread.join()

    task_id = manager.enqueue(work)
    await manager.drain()

    assert ["task", "thread of asyncio", "thread with a copied context"] == [
        line.message for line in seen.log_events
    ]
    assert {task_id} == {line.task_id for line in seen.log_events}


async def test_a_line_after_the_end_of_its_task_is_still_delivered():
    manager, seen = observed_manager()
    gate, stragglers = asyncio.Event(), []

    async def straggle():
        await gate.wait()
        task_log("late")

    async def work():
        stragglers.append(asyncio.create_task(straggle()))

    task_id = manager.enqueue(work)
    await manager.drain()
    gate.set()
    await asyncio.gather(*stragglers)

    assert [(task_id, "late")] == [(line.task_id, line.message) for line in seen.log_events]
    assert manager.store.get(task_id).logs[0].endswith("INFO late")  # type: ignore[union-attr]


async def test_a_straggler_keeps_the_number_of_its_attempt():
    manager, seen = observed_manager()
    gate, stragglers, attempts = asyncio.Event(), [], []

    async def straggle():
        await gate.wait()
        task_log("late")
        attempts.append(get_task_context().attempt)  # type: ignore[union-attr]

    @manager.task(retries=1)
    async def work():
        stragglers.append(asyncio.create_task(straggle()))
        if len(stragglers) == 1:
            raise ValueError
        gate.set()
        await asyncio.gather(*stragglers)

    manager.enqueue(work)
    await manager.drain()

    assert [0, 1] == sorted(line.attempt for line in seen.log_events) == sorted(attempts)


async def test_a_function_knows_its_task():
    manager, got = TaskManager(), []

    @manager.task(retries=1, name="named")
    async def work():
        got.append(get_task_context())
        raise ValueError

    task_id = manager.enqueue(work, tags={"a": "b"})
    await manager.drain()

    assert [TaskContext(task_id, "named", attempt, {"a": "b"}) for attempt in (0, 1)] == got
    assert get_task_context() is None


async def test_a_task_that_a_task_enqueues_is_its_own():
    manager, got = TaskManager(), []

    async def child():
        got.append(get_task_context().task_id)  # type: ignore[union-attr]

    async def parent():
        got.append(manager.enqueue(child))

    manager.enqueue(parent)
    await manager.drain()

    assert got[0] == got[1]


def test_a_line_outside_of_tasks_goes_to_the_standard_library(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "taskflow.task")
    for level in ("debug", "info", "warning", "error"):
        task_log("100 % done", level=level, size=3)  # type: ignore[arg-type]

    assert ["DEBUG", "INFO", "WARNING", "ERROR"] == [record.levelname for record in caplog.records]
    assert {("taskflow.task", "100 % done")} == {(r.name, r.getMessage()) for r in caplog.records}
    assert {"size": 3} == caplog.records[0].task_extra  # type: ignore[attr-defined]


def test_a_line_outside_of_tasks_names_its_caller(caplog: pytest.LogCaptureFixture):
    task_log("hello", level="warning")

    assert "test_context.py" == caplog.records[0].filename


@pytest.mark.parametrize("level", ["loud", "INFO", "", None, 20])
async def test_an_unknown_level_is_refused_inside_and_outside_of_tasks(level: Any):
    with pytest.raises(ValueError, match=r"^level=.*must be one of 'debug', 'info', 'warning', 'error'"):
        task_log("hello", level=level)
    manager, seen = observed_manager()
    manager.enqueue(lambda: task_log("hello", level=level))
    await manager.drain()

    assert "taskflow.core.exceptions.ConfigurationError" == seen.lifecycle_events[-1].error_type


# The filter for ordinary log records


def filtered() -> dict[str, Any]:
    record = logging.makeLogRecord({"msg": "hello"})
    assert TaskLogFilter().filter(record)
    names = ("task_id", "task_name", "task_attempt", "trace_id", "span_id")
    return {name: getattr(record, name) for name in names}


def test_outside_of_tasks_the_filter_sets_dashes():
    assert {"-"} == set(filtered().values())


async def test_inside_a_task_the_filter_tells_it():
    manager, got = TaskManager(), []

    def work():
        got.append(filtered())

    task_id = manager.enqueue(work)
    await manager.drain()

    assert [(task_id, "work", 1)] == [(g["task_id"], g["task_name"], g["task_attempt"]) for g in got]


def test_inside_a_span_the_filter_tells_its_ids():
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        got = filtered()

    assert (f"{0xABC:032x}", f"{0xDEF:016x}") == (got["trace_id"], got["span_id"])
