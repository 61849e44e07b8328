from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from taskflow import (
    ConfigurationError,
    InMemoryLogger,
    TaskCall,
    TaskManager,
    TaskMiddleware,
    TaskStatus,
    get_task_context,
    task_log,
)


class Noting(TaskMiddleware):
    """Notes what it surrounds, and where."""

    def __init__(self, name: str, notes: list[Any]) -> None:
        self.name, self.notes = name, notes

    async def __call__(self, call: TaskCall, proceed: Any) -> object:
        self.notes.append(f"{self.name} in")
        result = await proceed(call)
        self.notes.append(f"{self.name} out")
        return result

    def call_sync(self, call: TaskCall, proceed: Any) -> object:
        self.notes.append(f"{self.name} in")
        result = proceed(call)
        self.notes.append(f"{self.name} out")
        return result


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_the_first_middleware_is_the_outermost(kind: str):
    notes: list[str] = []
    manager = TaskManager(middleware=[Noting("first", notes), Noting("second", notes)])

    async def work():
        notes.append("work")

    manager.enqueue(work if kind == "async" else lambda: notes.append("work"))
    await manager.drain()

    assert ["first in", "second in", "work", "second out", "first out"] == notes


async def test_every_attempt_passes_through():
    notes: list[int] = []

    async def count(call: TaskCall, proceed: Any) -> object:
        notes.append(call.attempt)
        return await proceed(call)

    manager = TaskManager(middleware=[count])

    @manager.task(retries=2)
    async def fail():
        raise ValueError

    manager.enqueue(fail)
    await manager.drain()

    assert [0, 1, 2] == notes


async def test_a_call_tells_what_is_called():
    seen: list[TaskCall] = []

    async def look(call: TaskCall, proceed: Any) -> object:
        seen.append(call)
        return await proceed(call)

    manager = TaskManager(middleware=[look])

    @manager.task(name="mail")
    async def send(address: str, *, copy: bool): ...

    task_id = manager.with_options(retries=4, tags={"a": "b"}).enqueue(send, "x", copy=True)
    await manager.drain()

    call = seen[0]
    assert (send, ("x",), {"copy": True}) == (call.func, call.args, call.kwargs)
    assert (task_id, "mail", 0, {"a": "b"}) == (call.task_id, call.func_name, call.attempt, call.tags)
    assert 4 == call.options.retries


async def test_a_middleware_can_replace_the_arguments():
    got: list[Any] = []

    async def double(call: TaskCall, proceed: Any) -> object:
        return await proceed(call.with_arguments(call.args[0] * 2, key="new"))

    async def work(number: int, key: str):
        got.append((number, key))

    manager = TaskManager(middleware=[double])
    manager.enqueue(work, 21, key="old")
    await manager.drain()

    assert [(42, "new")] == got


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_a_middleware_raises_fails_the_attempt(kind: str):
    class Refusing(TaskMiddleware):
        async def __call__(self, call: TaskCall, proceed: Any) -> object:
            raise PermissionError("not today")

        def call_sync(self, call: TaskCall, proceed: Any) -> object:
            raise PermissionError("not today")

    async def work(): ...

    manager = TaskManager(middleware=[Refusing()])
    task_id = manager.enqueue(work if kind == "async" else threading.get_ident)
    await manager.drain()

    record = manager.store.get(task_id)
    assert record is not None
    assert (TaskStatus.FAILED, "not today", "PermissionError") == (
        record.status,
        record.error,
        record.error_type,
    )
    assert f'"{__file__}"' in (record.stacktrace or "").splitlines()[1]  # not ours


async def test_it_runs_in_the_context_of_the_attempt():
    user: ContextVar[str] = ContextVar("user")
    seen: list[Any] = []

    async def enter(call: TaskCall, proceed: Any) -> object:
        user.set("anna")
        task_log("from the middleware")
        context = get_task_context()
        seen.append(context is not None and context.task_id)
        return await proceed(call)

    async def work():
        seen.append(user.get())

    logger = InMemoryLogger()
    manager = TaskManager(middleware=[enter], loggers=[logger])
    task_id = manager.enqueue(work)
    await manager.drain()

    assert [task_id, "anna"] == seen
    assert [(task_id, "from the middleware")] == [(e.task_id, e.message) for e in logger.log_events]
    with pytest.raises(LookupError):
        user.get()


async def test_a_plain_function_is_around_functions_of_its_own_kind_alone():
    around: list[str] = []

    async def on_the_loop(call: TaskCall, proceed: Any) -> object:
        around.append(f"loop {call.func_name}")
        return await proceed(call)

    def in_a_thread(call: TaskCall, proceed: Any) -> object:
        around.append(f"thread {call.func_name}")
        return proceed(call)

    async def slow(): ...

    def quick() -> None: ...

    manager = TaskManager(middleware=[on_the_loop, in_a_thread])
    manager.enqueue(slow)
    await manager.drain()
    manager.enqueue(quick)
    await manager.drain()

    assert ["loop slow", "thread quick"] == around


async def test_a_cancellation_passes_through_the_middleware():
    seen: list[str] = []
    started = asyncio.Event()

    async def clean_up(call: TaskCall, proceed: Any) -> object:
        try:
            return await proceed(call)
        finally:
            seen.append("cleaned up")

    async def work():
        started.set()
        await asyncio.Event().wait()

    manager = TaskManager(middleware=[clean_up])
    async with manager:
        task_id = manager.enqueue(work)
        await started.wait()
        manager.cancel(task_id)
        await manager.drain()

    assert (["cleaned up"], TaskStatus.CANCELLED) == (seen, manager.store.get(task_id).status)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        ([TaskMiddleware], "must be a TaskMiddleware"),
        (["x"], "must be a TaskMiddleware"),
        ([lambda call: call], "must take two arguments"),
        (TaskMiddleware(), "must be a list"),
    ],
)
def test_what_is_no_middleware_is_refused(middleware: Any, message: str):
    with pytest.raises(ConfigurationError, match=f"^middleware=.*{message}"):
        TaskManager(middleware=middleware)
