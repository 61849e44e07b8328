from __future__ import annotations

import asyncio
import contextvars
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from taskflow import (
    ConfigurationError,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    LoggerChain,
    ManagedBackgroundTasks,
    TaskManager,
    TaskObserver,
    TaskStatus,
    task_log,
)
from taskflow.observers import ObserverStats

NOW = datetime(2026, 1, 1, tzinfo=UTC)

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


def lifecycle(status: TaskStatus = PENDING, task_id: str = "1") -> LifecycleEvent:
    return LifecycleEvent(task_id=task_id, func_name="f", status=status, timestamp=NOW)


def line(level: Any = "info", message: str = "hello") -> LogEvent:
    return LogEvent(task_id="1", func_name="f", message=message, level=level, timestamp=NOW)


class AsyncKeeper(TaskObserver):
    """Keeps what its async handlers receive; they wait for the gate."""

    def __init__(self, *, gate: asyncio.Event | None = None) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.gate = gate

    async def on_lifecycle(self, event: LifecycleEvent):
        if self.gate is not None:
            await self.gate.wait()
        self.events.append(event)

    async def on_log(self, event: LogEvent):
        self.events.append(event)


class Broken(TaskObserver):
    def on_lifecycle(self, event: LifecycleEvent):
        raise ValueError("broken observer")

    def on_log(self, event: LogEvent):
        raise ValueError("broken observer")

    def bind(self, event: LifecycleEvent):
        raise ValueError("broken observer")

    def inject(self, event: LifecycleEvent, carrier: dict[str, str]):
        raise ValueError("broken observer")


# Fan-out


def test_every_observer_receives_every_event_in_order():
    first, second = InMemoryLogger(), InMemoryLogger()
    chain = LoggerChain([first, second])
    events = [lifecycle(status) for status in (PENDING, RUNNING, SUCCESS)]
    for event in events:
        chain.on_lifecycle(event)
    chain.on_log(line())

    assert events == first.lifecycle_events == second.lifecycle_events
    assert [line()] == first.log_events == second.log_events


def test_a_line_below_an_observers_level_is_not_given_to_it():
    kept: dict[str, list[str]] = {}

    class Keeper(TaskObserver):
        def on_log(self, event: LogEvent):
            kept.setdefault(self.min_level, []).append(event.level)

    levels = ["debug", "info", "warning", "error"]
    chain = LoggerChain([Keeper(level) for level in levels])
    for level in levels:
        chain.on_log(line(level))

    assert {level: levels[rank:] for rank, level in enumerate(levels)} == kept


def test_a_chain_in_a_chain_passes_everything_on():
    inner = InMemoryLogger()
    outer = LoggerChain([LoggerChain([inner])])
    outer.on_lifecycle(lifecycle())
    outer.on_log(line("debug"))

    assert ([lifecycle()], [line("debug")]) == (inner.lifecycle_events, inner.log_events)


@pytest.mark.parametrize("wrong", [None, "InMemoryLogger", InMemoryLogger, logging.getLogger()])
def test_what_is_not_an_observer_is_refused(wrong: Any):
    with pytest.raises(ConfigurationError, match=r"^loggers=.*TaskObserver instances"):
        LoggerChain([InMemoryLogger(), wrong])
    with pytest.raises(ConfigurationError, match=r"^loggers="):
        TaskManager(loggers=[wrong])


@pytest.mark.parametrize("value", [0, -1, "5"])
def test_a_wrong_close_timeout_is_refused(value: Any):
    with pytest.raises(ConfigurationError, match="close_timeout="):
        LoggerChain(close_timeout=value)


# Failures


def test_an_observer_that_raises_does_not_affect_the_others():
    seen = InMemoryLogger()
    chain = LoggerChain([Broken(), seen])
    chain.on_lifecycle(lifecycle())
    chain.on_log(line())
    chain.bind(lifecycle(RUNNING))
    chain.inject(lifecycle(), {})

    assert ([lifecycle()], [line()]) == (seen.lifecycle_events, seen.log_events)
    assert [4, 0] == [stats.errors for stats in chain.stats()]


def test_an_observer_that_raises_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture):
    chain = LoggerChain([Broken()])
    for _ in range(100):
        chain.on_lifecycle(lifecycle())

    assert ["observer Broken raised (1 so far)"] == [record.getMessage() for record in caplog.records]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[2] is not None


async def test_an_async_observer_that_raises_is_counted_and_goes_on(caplog: pytest.LogCaptureFixture):
    class BrokenOnce(AsyncKeeper):
        async def on_lifecycle(self, event: LifecycleEvent):
            if not self.events:
                self.events.append("raised")
                raise ValueError("broken observer")
            self.events.append(event)

    observer = BrokenOnce()
    chain = LoggerChain([observer])
    chain.on_lifecycle(lifecycle())
    chain.on_lifecycle(lifecycle(RUNNING))
    await chain.startup()
    await chain.close()

    assert ["raised", lifecycle(RUNNING)] == observer.events
    assert [ObserverStats("BrokenOnce", errors=1, dropped=0, queue_size=0)] == chain.stats()
    assert "broken observer" in caplog.text


@pytest.mark.parametrize("hook", ["startup", "flush", "close"])
async def test_a_hook_that_raises_does_not_keep_the_others_from_theirs(hook: str):
    async def fail():
        raise ValueError

    calls: list[str] = []

    class Noting(TaskObserver):
        async def startup(self):
            calls.append("startup")

        async def flush(self):
            calls.append("flush")

        async def close(self):
            calls.append("close")

    broken = TaskObserver()
    setattr(broken, hook, fail)
    chain = LoggerChain([broken, Noting()])
    await chain.startup()
    await chain.flush()
    await chain.close()

    assert ["startup", "flush", "close"] == calls
    assert [1, 0] == [stats.errors for stats in chain.stats()]


async def test_a_task_survives_observers_that_always_raise():
    seen = InMemoryLogger()
    manager = TaskManager(loggers=[Broken(), seen])

    async def work():
        task_log("still here")

    manager.enqueue(work)
    await manager.drain()

    assert [PENDING, RUNNING, SUCCESS] == [event.status for event in seen.lifecycle_events]
    assert ["still here"] == [event.message for event in seen.log_events]


class Panic(BaseException):
    """As the libraries raise it that are written in Rust."""


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise Panic


NOT_ORDINARY = [asyncio.CancelledError, SystemExit, GeneratorExit, Panic, Unspeakable]


@pytest.mark.parametrize("handlers", ["sync", "async"])
@pytest.mark.parametrize("error", NOT_ORDINARY)
async def test_an_observer_that_raises_no_ordinary_exception_affects_nobody_either(
    error: type[BaseException], handlers: str
):
    class Bad(TaskObserver):
        def _refuse(self, *_: Any) -> Any:
            raise error

        bind = inject = on_lifecycle = on_log = on_backend = _refuse

    class BadAsync(TaskObserver):
        async def _refuse(self, *_: Any) -> Any:
            raise error

        on_lifecycle = on_log = on_backend = startup = flush = close = _refuse

    seen, published = InMemoryLogger(), []
    bad = Bad() if handlers == "sync" else BadAsync()
    manager = TaskManager(loggers=[bad, seen])
    manager.stream.subscribe(published.append)

    async def work():
        task_log("still here")

    async with manager:
        record = manager.store.get(manager.enqueue(work))
        await manager.drain()
        assert manager.logger is not None
        await manager.logger.flush()
        errors = manager.logger.stats()[0].errors

    assert record is not None
    assert (SUCCESS, None) == (record.status, record.backlog)
    assert [PENDING, RUNNING, SUCCESS] == [event.status for event in seen.lifecycle_events]
    assert ["still here"] == [event.message for event in seen.log_events]
    assert 4 == len(published)
    assert errors == {"sync": 5, "async": 6}[handlers]  # with bind; with startup and flush


async def test_a_level_that_is_none_is_that_observers_trouble_alone():
    bad, seen = InMemoryLogger(), InMemoryLogger()
    bad.min_level = "loud"
    chain = LoggerChain([bad, seen])
    chain.on_log(line())

    assert ([], 1, [1, 0]) == (
        bad.log_events,
        len(seen.log_events),
        [stats.errors for stats in chain.stats()],
    )


def test_what_the_user_interrupts_is_interrupted():
    class Interrupted(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LoggerChain([Interrupted()]).on_lifecycle(lifecycle())


# Names


def test_observers_of_one_class_have_names_of_their_own():
    chain = LoggerChain([InMemoryLogger(), TaskObserver(), InMemoryLogger(), InMemoryLogger()])

    assert ["InMemoryLogger", "TaskObserver", "InMemoryLogger-2", "InMemoryLogger-3"] == [
        stats.observer for stats in chain.stats()
    ]


# Async handlers


async def test_an_async_observer_that_blocks_does_not_hold_up_tasks():
    gate = asyncio.Event()
    slow, seen = AsyncKeeper(gate=gate), InMemoryLogger()
    async with TaskManager(loggers=[slow, seen]) as manager:
        ids = [manager.enqueue(asyncio.sleep, 0) for _ in range(10)]
        await manager.drain()
        before = list(slow.events)
        gate.set()
        await manager.logger.flush()  # type: ignore[union-attr]

        assert [SUCCESS] * 10 == [manager.store.get(task_id).status for task_id in ids]  # type: ignore[union-attr]
        assert [] == before
        assert seen.lifecycle_events == slow.events


async def test_an_observer_sees_what_was_emitted_before_start_up():
    observer = AsyncKeeper()
    chain = LoggerChain([observer])
    chain.on_lifecycle(lifecycle())
    await chain.startup()
    await chain.flush()

    assert [lifecycle()] == observer.events
    await chain.close()


async def test_sync_and_async_handlers_may_be_mixed_on_one_observer():
    class Mixed(TaskObserver):
        def __init__(self) -> None:
            super().__init__()
            self.states: list[TaskStatus] = []
            self.lines: list[str] = []

        def on_lifecycle(self, event: LifecycleEvent):
            self.states.append(event.status)

        async def on_log(self, event: LogEvent):
            self.lines.append(event.message)

    mixed = Mixed()
    chain = LoggerChain([mixed])
    chain.on_lifecycle(lifecycle())
    chain.on_log(line())
    at_once = (list(mixed.states), list(mixed.lines))
    await chain.startup()
    await chain.close()

    assert ([PENDING], []) == at_once
    assert ["hello"] == mixed.lines


async def test_both_async_handlers_of_an_observer_share_one_order():
    observer = AsyncKeeper()
    chain = LoggerChain([observer])
    events = [lifecycle(PENDING), lifecycle(RUNNING), line(), lifecycle(SUCCESS)]
    for event in events:
        chain.on_log(event) if isinstance(event, LogEvent) else chain.on_lifecycle(event)
    await chain.startup()
    await chain.close()

    assert events == observer.events


async def test_a_full_queue_drops_the_newest_and_counts_and_says_so(caplog: pytest.LogCaptureFixture):
    class Small(AsyncKeeper):
        queue_limit = 2

    observer = Small()
    chain = LoggerChain([observer])
    for status in (PENDING, RUNNING, SUCCESS, FAILED):
        chain.on_lifecycle(lifecycle(status))
    waiting = chain.stats()
    await chain.startup()
    await chain.close()

    assert [ObserverStats("Small", errors=0, dropped=2, queue_size=2)] == waiting
    assert [PENDING, RUNNING] == [event.status for event in observer.events]
    assert "observer Small is too slow: 1 events dropped so far" in caplog.text


async def test_flush_waits_for_what_was_emitted_before_it():
    gate = asyncio.Event()
    observer = AsyncKeeper(gate=gate)
    chain = LoggerChain([observer])
    await chain.startup()
    chain.on_lifecycle(lifecycle())
    flushed = asyncio.create_task(chain.flush())
    await asyncio.sleep(0)
    early = flushed.done()
    gate.set()
    await flushed

    assert (False, [lifecycle()]) == (early, observer.events)
    await chain.close()


async def test_flush_also_flushes_the_observers_themselves():
    calls: list[str] = []

    class Buffered(TaskObserver):
        async def on_log(self, event: LogEvent):
            calls.append("line")

        async def flush(self):
            calls.append("flush")

    chain = LoggerChain([LoggerChain([Buffered()])])
    chain.on_log(line())
    await chain.startup()
    await chain.flush()
    await chain.close()

    assert ["line", "flush"] == calls[:2]


async def test_close_reports_every_event_that_it_had_to_drop(caplog: pytest.LogCaptureFixture):
    observer = AsyncKeeper(gate=asyncio.Event())
    chain = LoggerChain([observer], close_timeout=0.01)
    await chain.startup()
    for _ in range(3):
        chain.on_lifecycle(lifecycle())
    await chain.close()

    assert [ObserverStats("AsyncKeeper", errors=0, dropped=3, queue_size=0)] == chain.stats()
    assert "observer AsyncKeeper is too slow: 3 events dropped so far" in caplog.text


async def test_close_closes_every_observer_even_one_whose_queue_took_all_the_time():
    closed: list[str] = []

    class Hanging(AsyncKeeper):
        async def close(self):
            closed.append("hanging")

    class Good(TaskObserver):
        async def close(self):
            closed.append("good")

    chain = LoggerChain([Hanging(gate=asyncio.Event()), Good()], close_timeout=0.01)
    await chain.startup()
    chain.on_lifecycle(lifecycle())
    await chain.close()

    assert ["good", "hanging"] == sorted(closed)


async def test_an_observer_whose_close_hangs_is_given_up(caplog: pytest.LogCaptureFixture):
    class Hanging(TaskObserver):
        async def close(self):
            await asyncio.Event().wait()

    chain = LoggerChain([Hanging()], close_timeout=0.01)
    await chain.startup()
    await chain.close()

    assert "observer Hanging did not close in time" in caplog.text


def test_a_chain_can_be_started_again_on_another_loop():
    observer = AsyncKeeper()
    chain = LoggerChain([observer])

    async def life(status: TaskStatus):
        await chain.startup()
        chain.on_lifecycle(lifecycle(status))
        await chain.close()

    asyncio.run(life(PENDING))
    asyncio.run(life(RUNNING))

    assert [PENDING, RUNNING] == [event.status for event in observer.events]


# Bind and inject


async def test_bind_is_called_inside_the_attempt_before_running_is_told():
    attempt: contextvars.ContextVar[str] = contextvars.ContextVar("attempt", default="none")
    calls: list[tuple[str, str]] = []

    class Binding(TaskObserver):
        def bind(self, event: LifecycleEvent):
            calls.append(("bind", attempt.get()))
            attempt.set(f"{event.func_name} {event.attempt}")

        def on_lifecycle(self, event: LifecycleEvent):
            calls.append((event.status, attempt.get()))

        def on_log(self, event: LogEvent):
            calls.append((event.message, attempt.get()))

    manager = TaskManager(loggers=[Binding()])

    @manager.task(retries=1)
    async def work():
        await asyncio.sleep(0)
        task_log("working")
        if attempt.get() == "work 0":
            raise ValueError

    @manager.task()
    def thread_work():
        task_log("working")

    tasks = ManagedBackgroundTasks(manager)
    tasks.add_task(work)
    tasks.add_task(thread_work)
    await tasks()

    assert [
        ("pending", "none"),
        ("pending", "none"),
        ("bind", "none"),
        ("running", "work 0"),
        ("working", "work 0"),
        ("retrying", "work 0"),
        ("bind", "none"),
        ("running", "work 1"),
        ("working", "work 1"),
        ("success", "work 1"),
        ("bind", "none"),
        ("running", "thread_work 0"),
        ("working", "thread_work 0"),
        ("success", "thread_work 0"),
    ] == calls
    assert "none" == attempt.get()


async def test_the_end_of_a_cancelled_attempt_is_told_inside_it():
    attempt: contextvars.ContextVar[str] = contextvars.ContextVar("attempt", default="none")
    told: list[tuple[TaskStatus, str]] = []
    started = asyncio.Event()

    class Binding(TaskObserver):
        def bind(self, event: LifecycleEvent):
            attempt.set(event.task_id)

        def on_lifecycle(self, event: LifecycleEvent):
            told.append((event.status, attempt.get()))

    async def work():
        started.set()
        await asyncio.Event().wait()

    manager = TaskManager(loggers=[Binding()])
    task_id = manager.enqueue(work)
    await started.wait()
    manager.cancel(task_id)
    await manager.drain()

    assert [(PENDING, "none"), (RUNNING, task_id), (CANCELLED, task_id)] == told


def test_every_observer_puts_what_it_must_remember_into_one_carrier():
    class Remembering(TaskObserver):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

        def inject(self, event: LifecycleEvent, carrier: dict[str, str]):
            carrier[self.key] = event.task_id

    carrier: dict[str, str] = {}
    LoggerChain([LoggerChain([Remembering("a")]), Remembering("b")]).inject(lifecycle(), carrier)

    assert {"a": "1", "b": "1"} == carrier


@pytest.mark.parametrize("value", [object(), 1, None, "\ud800", "\0"])
def test_what_could_not_be_stored_does_not_get_into_the_carrier(value: Any):
    class Careless(TaskObserver):
        def inject(self, event: LifecycleEvent, carrier: dict[str, str]):
            carrier["careless"] = value

    class Careful(TaskObserver):
        def inject(self, event: LifecycleEvent, carrier: dict[str, str]):
            carrier["careful"] = "yes"

    carrier: dict[str, str] = {}
    chain = LoggerChain([Careless(), Careful()])
    chain.inject(lifecycle(), carrier)

    assert {"careful": "yes"} == carrier
    assert [1, 0] == [stats.errors for stats in chain.stats()]


def test_an_observer_is_introduced_to_its_manager():
    class Watching(TaskObserver):
        source: Any = None

        def watch(self, source: Any):
            self.source = source

    watching = Watching()
    manager = TaskManager(loggers=[LoggerChain([watching])])

    assert manager is watching.source


async def test_a_chain_in_a_chain_shows_the_errors_of_its_observers():
    chain = LoggerChain([LoggerChain([Broken(), InMemoryLogger()])])
    chain.on_lifecycle(lifecycle())
    chain.on_log(line())
    assert [ObserverStats("LoggerChain", errors=2, dropped=0, queue_size=0)] == chain.stats()


async def test_a_chain_in_a_chain_shows_what_its_observers_lost(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(AsyncKeeper, "queue_limit", 1)
    chain = LoggerChain([LoggerChain([AsyncKeeper(gate=asyncio.Event())])])
    for _ in range(3):
        chain.on_lifecycle(lifecycle())
    assert [2] == [stats.dropped for stats in chain.stats()]


@pytest.mark.parametrize("observers", [5, None])
def test_what_is_no_list_of_observers_is_refused(observers: Any):
    with pytest.raises(ConfigurationError, match="observers="):
        LoggerChain(observers)
