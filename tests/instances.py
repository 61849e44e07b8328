"""Managers as processes would have them: several in one test, with a backend between them."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from fastapi import FastAPI

from taskflow import (
    InMemoryLogger,
    TaskManager,
    TaskObserver,
    TaskRecord,
    TaskStatus,
)
from taskflow.backends import MemoryBackend
from taskflow.core.options import NOTHING
from taskflow.execution.running.attempt import Execution
from tests.processes import PATIENCE

QUICK = {"heartbeat_interval": 0.05, "lease_timeout": 0.2, "rescue_interval": 0.02}
"""Times for tests in which an instance dies."""


class Instance:
    """A manager as one process would have it, with functions that wait for the test.

    Attributes:
        ran: what the functions were called with.
        go: lets them end.
        dead: whether it was killed.
    """

    def __init__(self, backend: MemoryBackend, *observers: TaskObserver, **options: Any) -> None:
        self.events = InMemoryLogger()
        loggers = [self.events, *observers]
        self.manager = TaskManager(snapshot_backend=backend, loggers=loggers, **(QUICK | options))
        self.ran: list[Any] = []
        self.go = asyncio.Event()
        self.dead = False

    def task(self, **config: Any) -> Callable[[Any], Any]:
        """Register a function that notes its argument, and ends when the test says so."""

        async def work(value: Any = None) -> None:
            self.ran.append(value)
            await self.go.wait()

        return self.manager.task(**({"name": "work"} | config))(work)

    async def __aenter__(self) -> Self:
        await self.manager.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go.set()
        if not self.dead:
            await self.manager.shutdown()

    async def stop(self) -> None:
        """Shut down while its functions wait, and go on waiting."""
        self.go = asyncio.Event()
        await self.manager.shutdown()

    async def die(self) -> None:
        """Stop without a word, as SIGKILL would: no heartbeat, no journal, nobody drives its tasks."""
        self.dead = True
        persistence = self.manager._persistence
        assert persistence is not None
        loops = [*persistence._loops, *self.manager.dispatcher._tasks]
        if persistence.journal._worker is not None:
            loops.append(persistence.journal._worker)
        persistence._on_event = lambda event: None  # type: ignore[method-assign]
        self.manager.stream._set_subscribers(())
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    def story(self, task_id: str) -> list[tuple[str, str | None]]:
        """The states that a task went through here, and why."""
        return [(e.status.value, e.reason) for e in self.events.lifecycle_events if e.task_id == task_id]


def enqueue_only(instance: Instance, function: Any, value: Any) -> str:
    """As a request that has not ended: nobody drives the task yet."""
    task_id, _ = instance.manager.enqueuer.enqueue(function, (value,), {}, NOTHING, Execution)
    return task_id


async def until(condition: Callable[[], Any]) -> Any:
    """What the condition, or what it returns to await, gives once that is true."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)


async def ends(instance: Instance, task_id: str) -> TaskRecord:
    """The task's record once it has ended."""

    async def ended() -> TaskRecord | None:
        record = await instance.manager.history.get(task_id)
        return record if record is not None and record.finished else None

    found: TaskRecord = await until(ended)
    return found


async def stored(backend: MemoryBackend, task_id: str) -> TaskStatus | None:
    """The state that the backend knows of."""
    row = await backend.get(task_id)
    return None if row is None else row.status


async def stored_as(backend: MemoryBackend, task_id: str, status: TaskStatus) -> None:
    """Return once the backend has the task in that state."""

    async def is_stored() -> bool:
        return await stored(backend, task_id) is status

    await until(is_stored)


@asynccontextmanager
async def client(manager: TaskManager, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app as a server would run it, in this loop."""
    manager.init_app(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as requests,
    ):
        yield requests
