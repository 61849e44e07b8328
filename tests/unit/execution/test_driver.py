"""Attempts, retries, cancellation: what one task's way through the pipeline looks like from outside."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from typing import Any

import pytest

from taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    ManagedBackgroundTasks,
    TaskFinishedError,
    TaskManager,
    TaskNotCancellableError,
    TaskNotFoundError,
    TaskObserver,
    TaskStatus,
)
from taskflow.execution.running.attempt import Execution
from taskflow.execution.running.failure import STACKTRACE_BYTES

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

HOUR = 3600.0


def observed_manager(**options: Any) -> tuple[TaskManager, InMemoryLogger]:
    seen = InMemoryLogger()
    return TaskManager(loggers=[seen], **options), seen


def path(seen: InMemoryLogger, task_id: str) -> list[TaskStatus]:
    """The states that a task went through, as the observers saw them."""
    return [event.status for event in seen.lifecycle_events if event.task_id == task_id]


def status_of(manager: TaskManager, task_id: str) -> TaskStatus:
    record = manager.store.get(task_id)
    assert record is not None
    return record.status


async def until(condition: Any) -> None:
    """Let the loop turn until the condition holds; pytest's own timeout ends a wait that is in vain."""
    while not condition():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)


# Outcomes


async def test_an_async_function_that_returns_is_a_success():
    manager, seen = observed_manager()

    async def work(): ...

    task_id = manager.enqueue(work)
    await manager.drain()

    assert [PENDING, RUNNING, SUCCESS] == path(seen, task_id)


async def test_a_sync_function_that_returns_is_a_success():
    manager, seen = observed_manager()
    task_id = manager.enqueue(lambda: None)
    await manager.drain()

    assert [PENDING, RUNNING, SUCCESS] == path(seen, task_id)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_is_called_with_what_was_given(is_async: bool):
    manager, got = TaskManager(), []

    async def work(*args: Any, **kwargs: Any):
        got.append((args, kwargs))

    def sync_work(*args: Any, **kwargs: Any):
        got.append((args, kwargs))

    manager.enqueue(work if is_async else sync_work, 1, "two", three=[3])
    await manager.drain()

    assert [((1, "two"), {"three": [3]})] == got


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_that_fails_once_is_retried_and_says_why(is_async: bool):
    manager, seen = observed_manager()
    outcomes = iter([ValueError("first"), None])

    def step():
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    async def step_async():
        step()

    task_id = manager.enqueue(manager.task(retries=2)(step_async if is_async else step))
    await manager.drain()
    retrying = seen.lifecycle_events[2]

    assert [PENDING, RUNNING, RETRYING, RUNNING, SUCCESS] == path(seen, task_id)
    assert ("first", "ValueError", 0.0) == (retrying.error, retrying.error_type, retrying.next_delay)
    assert [0, 0, 0, 1, 1] == [event.attempt for event in seen.lifecycle_events]
    assert [0, 0, 1, 1, 1] == [event.retries_used for event in seen.lifecycle_events]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_that_always_fails_uses_its_retries_up(is_async: bool):
    manager, seen = observed_manager()

    def step():
        raise LookupError("no")

    async def step_async():
        step()

    task_id = manager.enqueue(manager.task(retries=2)(step_async if is_async else step))
    await manager.drain()
    last = seen.lifecycle_events[-1]

    assert [PENDING, *[RUNNING, RETRYING] * 2, RUNNING, FAILED] == path(seen, task_id)
    assert ("no", "LookupError", 2, 2) == (last.error, last.error_type, last.attempt, last.retries_used)
    assert "in step\n" in str(last.stacktrace)


async def test_the_delay_before_each_retry_is_announced_and_slept(monkeypatch: pytest.MonkeyPatch):
    manager, seen = observed_manager()
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted_sleep(seconds: float):
        if seconds:  # not only a turn of the loop
            slept.append(seconds)
        await sleep(0)

    @manager.task(retries=3, delay=5, backoff=2)
    async def work():
        raise ValueError

    manager.enqueue(work)
    monkeypatch.setattr("taskflow.execution.driver.asyncio.sleep", noted_sleep)
    await manager.drain()

    assert [5.0, 10.0, 20.0] == [e.next_delay for e in seen.lifecycle_events if e.status is RETRYING]
    assert [5.0, 10.0, 20.0] == slept


async def test_a_failing_task_leaves_its_siblings_alone():
    manager = TaskManager()

    def fail():
        raise ValueError

    async def work(): ...

    tasks = ManagedBackgroundTasks(manager)
    ids = [tasks.add_task(func) for func in (fail, work, fail, work)]
    await tasks()

    assert [FAILED, SUCCESS, FAILED, SUCCESS] == [status_of(manager, task_id) for task_id in ids]


async def test_a_failure_is_logged_with_its_traceback_observers_or_not(caplog: pytest.LogCaptureFixture):
    manager = TaskManager()

    @manager.task(retries=1)
    async def work():
        raise ValueError("broken")

    task_id = manager.enqueue(work)
    await manager.drain()
    warning, error = caplog.records

    assert ("taskflow", logging.WARNING) == (warning.name, warning.levelno)
    assert ("taskflow", logging.ERROR) == (error.name, error.levelno)
    assert f"task work ({task_id}) failed in attempt 1 of 2, next in 0 s" == warning.getMessage()
    assert f"task work ({task_id}) failed in attempt 2 of 2" == error.getMessage()
    assert error.exc_info is not None
    assert error.exc_info[2] is not None
    assert "work" == error.exc_info[2].tb_frame.f_code.co_name


@pytest.mark.parametrize("is_async", [True, False])
async def test_system_exit_ends_that_task_only(is_async: bool):
    manager, seen = observed_manager()

    def leave():
        raise SystemExit(3)

    async def leave_async():
        raise SystemExit(3)

    tasks = ManagedBackgroundTasks(manager)
    left = tasks.add_task(leave_async if is_async else leave)
    sibling = tasks.add_task(lambda: None)
    await tasks()

    assert (FAILED, SUCCESS) == (status_of(manager, left), status_of(manager, sibling))
    assert ["SystemExit"] == [event.error_type for event in seen.lifecycle_events if event.error_type]


async def test_an_exception_that_cannot_be_printed_is_still_a_failure():
    manager, seen = observed_manager()

    class UnspeakableError(Exception):
        def __str__(self):
            raise RuntimeError

    def work():
        raise UnspeakableError

    manager.enqueue(work)
    await manager.drain()

    assert "<UnspeakableError.__str__ raised RuntimeError>" == seen.lifecycle_events[-1].error


@pytest.mark.parametrize("letter", ["x", "é"])
async def test_a_long_traceback_is_cut_in_its_middle_and_the_cut_is_marked(letter: str):
    manager, seen = observed_manager()

    def work():
        raise ValueError(letter * 2 * STACKTRACE_BYTES)

    manager.enqueue(work)
    await manager.drain()
    trace = str(seen.lifecycle_events[-1].stacktrace)

    assert "… cut …" in trace
    assert trace.startswith("Traceback")
    assert len(trace.encode()) <= STACKTRACE_BYTES + 100


async def test_a_store_that_is_cleared_between_attempts_ends_the_task():
    class Clear(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            if event.status is RETRYING:
                manager.store.clear()

    manager = TaskManager(loggers=[Clear()])

    @manager.task(retries=1)
    async def work():
        raise ValueError

    manager.enqueue(work)
    drained = asyncio.create_task(manager.drain())
    for _ in range(50):
        await asyncio.sleep(0)
    done = drained.done()
    drained.cancel()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()

    assert done


# What an attempt runs in


async def test_a_task_sees_the_context_variables_of_the_place_that_enqueued_it():
    manager, seen = TaskManager(), []
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    async def work():
        seen.append(user.get())

    def sync_work():
        seen.append(user.get())

    for name, func in (("ann", work), ("bob", sync_work)):
        user.set(name)
        manager.enqueue(func)
    user.set("eve")
    await manager.drain()

    assert ["ann", "bob"] == sorted(seen)


async def test_each_attempt_runs_in_a_fresh_copy_of_the_context():
    manager, seen = TaskManager(), []
    step: contextvars.ContextVar[int] = contextvars.ContextVar("step", default=0)

    @manager.task(retries=1)
    async def work():
        seen.append(step.get())
        step.set(step.get() + 1)
        raise ValueError

    tasks = ManagedBackgroundTasks(manager)
    tasks.add_task(work)
    tasks.add_task(work)
    await tasks()

    assert [0, 0, 0, 0] == seen
    assert 0 == step.get()


async def test_asyncio_timeout_works_inside_a_task_function():
    manager, seen = observed_manager()

    async def work():
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    manager.enqueue(work)
    await manager.drain()

    assert (FAILED, "TimeoutError") == (
        seen.lifecycle_events[-1].status,
        seen.lifecycle_events[-1].error_type,
    )


async def fail_in_a_task_group():
    async def fail():
        raise ValueError

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        group.create_task(asyncio.Event().wait())


async def test_a_task_group_works_inside_a_task_function():
    manager, seen = observed_manager()
    failed = manager.enqueue(fail_in_a_task_group)
    await manager.drain()

    assert [PENDING, RUNNING, FAILED] == path(seen, failed)
    assert "ValueError" == seen.lifecycle_events[-1].error_type  # of its leaves


# Up to Python 3.12 a TaskGroup whose child fails while it is being left does not take its
# cancellation of the parent back (`asyncio.Task.uncancel`): the host's count stays above 0.
async def test_what_a_task_group_leaves_behind_does_not_turn_a_siblings_failure_into_a_stop():
    manager = TaskManager()

    async def await_something_cancelled():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    tasks = ManagedBackgroundTasks(manager)
    ids = [tasks.add_task(func) for func in (fail_in_a_task_group, await_something_cancelled)]
    last = tasks.add_task(asyncio.sleep, 0)
    await asyncio.wait({asyncio.create_task(tasks())})

    assert [FAILED, FAILED] == [status_of(manager, task_id) for task_id in ids]
    assert SUCCESS == status_of(manager, last)


async def test_what_a_task_group_leaves_behind_does_not_let_a_cancellation_hit_the_siblings():
    manager = TaskManager()
    started = asyncio.Event()

    async def work():
        started.set()
        await asyncio.Event().wait()

    tasks = ManagedBackgroundTasks(manager)
    tasks.add_task(fail_in_a_task_group)
    running = tasks.add_task(work)
    last = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(running)
    await asyncio.wait({host})

    assert (CANCELLED, SUCCESS) == (status_of(manager, running), status_of(manager, last))


async def survive_a_timeout():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()


async def test_a_function_that_survived_a_timeout_can_still_fail_by_itself():
    manager = TaskManager()

    async def work():
        await survive_a_timeout()
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    tasks = ManagedBackgroundTasks(manager)
    failed = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await asyncio.wait({host})

    assert (FAILED, SUCCESS) == (status_of(manager, failed), status_of(manager, sibling))
    assert not host.cancelled()


async def test_a_function_that_survived_a_timeout_is_cancelled_without_its_siblings():
    manager = TaskManager()
    started = asyncio.Event()

    async def work():
        await survive_a_timeout()
        started.set()
        await asyncio.Event().wait()

    tasks = ManagedBackgroundTasks(manager)
    running = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(running)
    await asyncio.wait({host})

    assert (CANCELLED, SUCCESS) == (status_of(manager, running), status_of(manager, sibling))
    assert not host.cancelled()


async def test_a_host_that_is_cancelled_stays_so_while_the_function_cleans_up():
    manager = TaskManager()
    started, cleaned = asyncio.Event(), []

    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            # Before Python 3.11.3 a timeout in a task that was cancelled raises CancelledError instead:
            # https://github.com/python/cpython/issues/102780
            with contextlib.suppress(asyncio.CancelledError):
                await survive_a_timeout()
            await asyncio.sleep(0)
            cleaned.append(1)

    tasks = ManagedBackgroundTasks(manager)
    running = tasks.add_task(work)
    host = asyncio.create_task(tasks())
    await started.wait()
    host.cancel()
    await asyncio.wait({host})

    assert ([1], True, INTERRUPTED) == (cleaned, host.cancelled(), status_of(manager, running))


async def test_a_cancelled_error_of_the_functions_own_making_is_a_failure():
    manager, seen = observed_manager()

    async def work():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    tasks = ManagedBackgroundTasks(manager)
    failed = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    await tasks()

    assert [PENDING, RUNNING, FAILED] == path(seen, failed)
    assert SUCCESS == status_of(manager, sibling)
    assert ["asyncio.exceptions.CancelledError"] == [
        event.error_type for event in seen.lifecycle_events if event.status is FAILED
    ]


# Cancelling


async def test_a_cancelled_pending_task_never_runs():
    manager, seen = observed_manager()
    ran: list[int] = []
    tasks = ManagedBackgroundTasks(manager)
    first, second = tasks.add_task(ran.append, 1), tasks.add_task(ran.append, 2)
    record = manager.cancel(first)
    await tasks()

    assert [2] == ran
    assert [PENDING, CANCELLED] == path(seen, first)
    assert (CANCELLED, "user") == (record.status, record.reason)
    assert SUCCESS == status_of(manager, second)


async def test_a_task_that_waits_for_a_slot_can_be_cancelled():
    manager, seen = observed_manager(max_concurrent_tasks=1)
    gate = asyncio.Event()
    manager.enqueue(gate.wait)
    waiting = manager.enqueue(gate.wait)
    slots = manager.pools[0]
    await until(lambda: slots.waiting == 1)
    manager.cancel(waiting)
    await until(lambda: not slots.waiting)
    in_use = slots.in_use
    gate.set()
    await manager.drain()

    assert [PENDING, CANCELLED] == path(seen, waiting)
    assert (1, 0) == (in_use, slots.in_use)


async def test_a_task_that_waits_for_a_thread_can_be_cancelled():
    manager, seen = observed_manager(max_sync_threads=1)
    gate, ran = threading.Event(), []
    async with manager:
        blocker = manager.enqueue(gate.wait)
        waiting = manager.enqueue(ran.append, 1)
        threads = manager.pools[1]
        await until(lambda: (threads.waiting, threads.in_use) == (1, 1))
        manager.cancel(waiting)
        await until(lambda: not threads.waiting)
        gate.set()

    assert [PENDING, CANCELLED] == path(seen, waiting)
    assert [PENDING, RUNNING, SUCCESS] == path(seen, blocker)
    assert [] == ran


async def test_a_task_in_its_retry_delay_can_be_cancelled():
    manager, seen = observed_manager()

    @manager.task(retries=1, delay=HOUR)
    async def work():
        raise ValueError("first")

    tasks = ManagedBackgroundTasks(manager)
    waiting = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await until(lambda: status_of(manager, waiting) is RETRYING)
    manager.cancel(waiting)
    await host

    assert [PENDING, RUNNING, RETRYING, CANCELLED] == path(seen, waiting)
    assert SUCCESS == status_of(manager, sibling)
    assert 0 == host.cancelling()


async def test_cancelled_error_is_raised_where_a_running_async_task_awaits_and_siblings_go_on():
    manager, seen = observed_manager()
    started, cleaned = asyncio.Event(), []

    async def work():
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaned.append(1)
            raise

    tasks = ManagedBackgroundTasks(manager)
    running = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(running)
    await host

    assert [1] == cleaned
    assert [PENDING, RUNNING, CANCELLED] == path(seen, running)
    assert SUCCESS == status_of(manager, sibling)
    assert 0 == host.cancelling()
    assert not host.cancelled()


async def test_a_running_async_task_can_be_cancelled_from_another_thread():
    manager, seen = observed_manager()
    started = asyncio.Event()

    async def work():
        started.set()
        await asyncio.Event().wait()

    running = manager.enqueue(work)
    await started.wait()
    await asyncio.to_thread(manager.cancel, running)
    await manager.drain()

    assert [PENDING, RUNNING, CANCELLED] == path(seen, running)


async def test_a_function_that_swallows_its_cancellation_and_returns_is_a_success():
    manager, seen = observed_manager()
    started = asyncio.Event()

    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    tasks = ManagedBackgroundTasks(manager)
    stubborn = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(stubborn)
    await host

    assert [PENDING, RUNNING, SUCCESS] == path(seen, stubborn)
    assert [PENDING, RUNNING, SUCCESS] == path(seen, sibling)
    assert 0 == host.cancelling()


async def test_a_function_that_cancels_itself_and_returns_does_not_hit_its_sibling():
    manager, seen = observed_manager()
    ids: list[str] = []

    async def work():
        manager.cancel(ids[0])

    tasks = ManagedBackgroundTasks(manager)
    ids.append(tasks.add_task(work))
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await host

    assert [PENDING, RUNNING, SUCCESS] == path(seen, ids[0])
    assert [PENDING, RUNNING, SUCCESS] == path(seen, sibling)
    assert 0 == host.cancelling()


@pytest.mark.parametrize("delay", [0.0, HOUR])
async def test_a_function_that_cancels_itself_and_then_fails_is_cancelled_instead_of_retried(delay: float):
    manager, seen = observed_manager()
    ids: list[str] = []

    @manager.task(retries=1, delay=delay)
    async def work():
        manager.cancel(ids[0])
        raise ValueError

    tasks = ManagedBackgroundTasks(manager)
    ids.append(tasks.add_task(work))
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await host

    assert CANCELLED == path(seen, ids[0])[-1]
    assert 1 == path(seen, ids[0]).count(RUNNING)
    assert SUCCESS == status_of(manager, sibling)
    assert 0 == host.cancelling()


async def test_a_function_that_answers_its_cancellation_with_another_exception_is_not_retried():
    manager, seen = observed_manager()
    started = asyncio.Event()

    @manager.task(retries=1)
    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("clean-up failed") from None

    tasks = ManagedBackgroundTasks(manager)
    stopped = tasks.add_task(work)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(stopped)
    await until(lambda: host.done() or path(seen, stopped).count(RUNNING) == 2)
    attempts = path(seen, stopped).count(RUNNING)
    host.cancel()
    await asyncio.wait({host})

    assert 1 == attempts
    assert path(seen, stopped)[-1] in {CANCELLED, FAILED}


async def test_a_started_sync_function_cannot_be_cancelled_and_is_left_as_it_is():
    manager, seen = observed_manager()
    gate = threading.Event()
    running = manager.enqueue(gate.wait)
    await until(lambda: status_of(manager, running) is RUNNING)
    with pytest.raises(TaskNotCancellableError) as refused:
        manager.cancel(running)
    gate.set()
    await manager.drain()

    assert running == refused.value.task_id
    assert [PENDING, RUNNING, SUCCESS] == path(seen, running)


async def test_a_finished_task_cannot_be_cancelled():
    manager, seen = observed_manager()
    ended = manager.enqueue(asyncio.sleep, 0)
    await manager.drain()
    with pytest.raises(TaskFinishedError) as refused:
        manager.cancel(ended)

    assert (ended, "success") == (refused.value.task_id, refused.value.status)
    assert [PENDING, RUNNING, SUCCESS] == path(seen, ended)


def test_an_unknown_task_cannot_be_cancelled():
    with pytest.raises(TaskNotFoundError, match="no task with id 'nobody'"):
        TaskManager().cancel("nobody")


async def test_cancelling_twice_is_harmless():
    manager, seen = observed_manager()
    started = asyncio.Event()

    async def work():
        started.set()
        await asyncio.Event().wait()

    tasks = ManagedBackgroundTasks(manager)
    running = tasks.add_task(work)
    sibling = tasks.add_task(asyncio.sleep, 0)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(running)
    manager.cancel(running)
    await host

    assert [PENDING, RUNNING, CANCELLED] == path(seen, running)
    assert (SUCCESS, 0) == (status_of(manager, sibling), host.cancelling())


async def test_an_observer_may_cancel_the_task_that_it_hears_of():
    class CancelAt(TaskObserver):
        def __init__(self, status: TaskStatus) -> None:
            super().__init__()
            self.status = status

        def on_lifecycle(self, event: LifecycleEvent):
            if event.status is self.status:
                manager.cancel(event.task_id)

    async def work():
        await asyncio.sleep(0)
        raise ValueError

    for status in (PENDING, RUNNING, RETRYING):
        seen = InMemoryLogger()
        manager = TaskManager(loggers=[CancelAt(status), seen])
        task_id = manager.enqueue(manager.task(retries=1)(work))
        await manager.drain()

        assert CANCELLED == status_of(manager, task_id)
        assert status in path(seen, task_id)
        assert CANCELLED == path(seen, task_id)[-1]


async def test_a_sync_function_that_starts_while_it_is_being_cancelled_is_not_called_cancelled():
    manager, seen = observed_manager(max_sync_threads=1)
    gate, looked, ran = threading.Event(), threading.Event(), threading.Event()

    class StartsMeanwhile(Execution):
        """Lets the function start after `cancel` has looked at the record and before it acts."""

        __slots__ = ()

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "stop" and not looked.is_set():
                looked.set()
                while not (ran.is_set() or self.record.finished):
                    ran.wait(0.001)

    def work():
        ran.set()
        gate.wait()

    async with manager:
        manager.enqueue(looked.wait)
        running = manager.enqueue(work)
        manager.driver.executions[running].__class__ = StartsMeanwhile
        await until(lambda: manager.pools[1].waiting == 1)
        with contextlib.suppress(TaskNotCancellableError):
            await asyncio.to_thread(manager.cancel, running)
        gate.set()

    assert path(seen, running) in ([PENDING, RUNNING, SUCCESS], [PENDING, CANCELLED])


# The host


async def test_a_host_that_is_cancelled_from_outside_interrupts_its_task_and_is_cancelled():
    manager, seen = observed_manager()
    started = asyncio.Event()

    async def work():
        started.set()
        await asyncio.Event().wait()

    tasks = ManagedBackgroundTasks(manager)
    running = tasks.add_task(work)
    host = asyncio.create_task(tasks())
    await started.wait()
    host.cancel()
    await asyncio.wait({host})

    assert host.cancelled()
    assert [PENDING, RUNNING, INTERRUPTED] == path(seen, running)
    assert "request_cancelled" == seen.lifecycle_events[-1].reason


@pytest.mark.parametrize("where", ["slot", "retry delay", "thread"])
async def test_a_host_that_is_cancelled_while_its_task_waits_interrupts_it(where: str):
    manager, seen = observed_manager(max_concurrent_tasks=1)
    gate = threading.Event()

    @manager.task(retries=1, delay=HOUR)
    async def fail():
        raise ValueError

    if where == "slot":
        blocker = asyncio.Event()
        manager.enqueue(blocker.wait)
        await until(lambda: manager.pools[0].in_use == 1)
    tasks = ManagedBackgroundTasks(manager)
    waiting = tasks.add_task({"slot": asyncio.Event().wait, "retry delay": fail, "thread": gate.wait}[where])
    host = asyncio.create_task(tasks())
    await until(lambda: manager.pools[0].waiting or status_of(manager, waiting) in {RETRYING, RUNNING})
    host.cancel()
    await asyncio.wait({host})
    if where == "slot":
        blocker.set()
    gate.set()
    await manager.drain()

    assert host.cancelled()
    assert INTERRUPTED == path(seen, waiting)[-1]
    assert 1 == sum(status in {SUCCESS, FAILED, INTERRUPTED, CANCELLED} for status in path(seen, waiting))


async def test_a_cancellation_from_outside_passes_on_even_when_the_task_was_cancelled_too():
    manager, seen = observed_manager()
    started = asyncio.Event()

    async def work():
        started.set()
        await asyncio.Event().wait()

    tasks = ManagedBackgroundTasks(manager)
    running = tasks.add_task(work)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(running)
    host.cancel()
    await asyncio.wait({host})

    assert host.cancelled()
    assert [PENDING, RUNNING, CANCELLED] == path(seen, running)


async def test_a_cancellation_from_outside_is_not_lost_where_a_function_swallowed_ours():
    manager = TaskManager()
    started = asyncio.Event()

    async def work():
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_soon(host.cancel)

    tasks = ManagedBackgroundTasks(manager)
    stubborn = tasks.add_task(work)
    tasks.add_task(asyncio.Event().wait)
    host = asyncio.create_task(tasks())
    await started.wait()
    manager.cancel(stubborn)
    await asyncio.wait({host})

    assert host.cancelled()


def test_a_sync_function_that_only_makes_a_coroutine_fails_instead_of_doing_nothing():
    manager = TaskManager(handle_signals=False)

    async def send(address: str):
        raise AssertionError(address)

    async def life():
        task_id = manager.enqueue(lambda: send("ada@example.com"))
        await manager.drain()
        return task_id

    task_id = asyncio.run(life())

    assert FAILED == status_of(manager, task_id)
    assert "it returned a coroutine that nobody would await" in (manager.store.get(task_id).error or "")
