"""Several applications in one process, each with its own manager and metrics, and a switch for its incident.

``GET /{name}/metrics`` is what Prometheus scrapes, ``POST /{name}`` begins the incident.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import BackgroundTasks, FastAPI
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from taskflow import (
    LifecycleEvent,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    TaskObserver,
    get_task_context,
    task_log,
)
from taskflow.metrics import mount_metrics
from tests.faulty import FaultyBackend

TICK = 0.5
"""Seconds between two portions of work."""


class Stuck(TaskObserver):
    """Never finishes its first event, and has room for one more."""

    queue_limit = 1

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await asyncio.Event().wait()


class Raising(TaskObserver):
    """Raises for every event."""

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        raise ValueError("offended")


class Application:
    """A manager, its metrics, and its tasks.

    Args:
        name: the first part of its paths.
        observers: beside the one for Prometheus.
        slots: async tasks that may run at once.
        backend: where its history goes.
    """

    def __init__(
        self,
        name: str,
        *observers: TaskObserver,
        slots: int | None = None,
        backend: FaultyBackend | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.manager = TaskManager(
            snapshot_backend=backend,
            snapshot_interval=TICK,
            requeue_pending=backend is not None,
            loggers=[*observers, PrometheusObserver(CollectorRegistry())],
            max_concurrent_tasks=slots,
            dispatch="detached",
            shutdown_timeout=0,
            handle_signals=False,
        )
        self.manager.logger.close_timeout = 0.1
        for task in (work, nap, rarely, hang):
            self.manager.task(retries=1 if task is work else 0, delay=0.05)(task)

    def add(self, succeed: int, fail: int = 0) -> None:
        """Enqueue ``work``."""
        for fails in [False] * succeed + [True] * fail:
            self.manager.enqueue(work, fails=fails)


turns = itertools.count()


async def work(*, fails: bool = False) -> None:
    """What nearly all tasks are: now and then only the second attempt succeeds."""
    task_log("working", level="debug")
    if fails or (get_task_context().attempt == 0 and next(turns) % 20 == 0):
        raise ConnectionError("no answer")


async def nap() -> None:
    await asyncio.sleep(0.1)


async def rarely() -> None:
    raise LookupError("never works")


async def hang() -> None:
    await asyncio.Event().wait()


Incident = Callable[[Application, ManagedBackgroundTasks], Awaitable[None]]


async def nothing_to_do(_application: Application, _tasks: ManagedBackgroundTasks) -> None:
    """It has started, and that is all."""


async def one_task_fails(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    """One of 200 tasks, but that one always."""
    for tick in itertools.count():
        application.add(succeed=50)
        if tick % 4 == 0:
            application.manager.enqueue(rarely)
        await asyncio.sleep(TICK)


async def a_tenth_fails(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    while True:
        application.add(succeed=9, fail=1)
        await asyncio.sleep(TICK)


async def a_thirtieth_fails(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    while True:
        application.add(succeed=29, fail=1)
        await asyncio.sleep(TICK)


async def one_waits(application: Application, tasks: ManagedBackgroundTasks) -> None:
    """A task waits behind one of the same request that hangs; those of other requests go on."""
    tasks.add_task(hang)
    tasks.add_task(work)
    await steadily(application, tasks)


async def all_wait(_application: Application, tasks: ManagedBackgroundTasks) -> None:
    """The same, and there are no others."""
    tasks.add_task(hang)
    tasks.add_task(work)


async def too_many(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    """Always a dozen more tasks than slots, each of which waits for less than a second."""
    while True:
        for _ in range(14 - sum(1 for _ in application.manager.store.live())):
            application.manager.enqueue(nap)
        await asyncio.sleep(0.05)


async def loop_blocked(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    while True:
        application.add(succeed=1)
        time.sleep(1.3)  # noqa: ASYNC251 - that is the incident
        await asyncio.sleep(0.2)


async def snapshots_fail(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    application.backend.down = True
    while True:
        application.add(succeed=10)
        await asyncio.sleep(TICK)


async def steadily(application: Application, _tasks: ManagedBackgroundTasks) -> None:
    """Nothing is wrong; or it is elsewhere: in an observer, or in the end of the process."""
    while True:
        application.add(succeed=10)
        await asyncio.sleep(TICK)


INCIDENTS: dict[str, tuple[Application, Incident]] = {
    application.name: (application, incident)
    for application, incident in [
        (Application("idle"), nothing_to_do),
        (Application("healthy", OpenTelemetryObserver(TracerProvider()), backend=FaultyBackend()), steadily),
        (Application("one-task-fails"), one_task_fails),
        (Application("a-tenth-fails"), a_tenth_fails),
        (Application("a-thirtieth-fails"), a_thirtieth_fails),
        (Application("one-waits"), one_waits),
        (Application("all-wait"), all_wait),
        (Application("too-many", slots=2), too_many),
        (Application("loop-blocked"), loop_blocked),
        (Application("observer-stuck", Stuck()), steadily),
        (Application("observer-raises", Raising()), steadily),
        (Application("snapshots-fail", backend=FaultyBackend()), snapshots_fail),
        (Application("down"), steadily),
    ]
}


async def leave_work(backend: FaultyBackend) -> None:
    """What a process that was stopped leaves for the next one: a task that comes back at its start."""
    before = TaskManager(
        snapshot_backend=backend,
        requeue_pending=True,
        max_concurrent_tasks=1,
        shutdown_timeout=0,
        handle_signals=False,
    )
    in_front = asyncio.Event()

    @before.task()
    async def hold() -> None:
        in_front.set()
        await asyncio.Event().wait()

    before.task(retries=1)(work)
    await before.startup()
    before.enqueue(hold)
    before.enqueue(work)
    await in_front.wait()
    await before.shutdown()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for application, _ in INCIDENTS.values():
            if application.backend is not None:
                await leave_work(application.backend)
            await application.manager.startup()
            stack.push_async_callback(application.manager.shutdown)
        app.state.incidents = group
        app.state.running = []
        yield
        for running in app.state.running:
            running.cancel()


app = FastAPI(lifespan=lifespan)
for name, (application, _) in INCIDENTS.items():
    mount_metrics(app, application.manager, path=f"/{name}/metrics")


@app.post("/{name}")
async def begin(name: str, background_tasks: BackgroundTasks) -> None:
    application, incident = INCIDENTS[name]
    tasks = ManagedBackgroundTasks(application.manager, background_tasks)
    app.state.running.append(app.state.incidents.create_task(incident(application, tasks)))
    await asyncio.sleep(0)  # until the incident has added the tasks of this request


@app.get("/ready")
async def ready() -> None:
    """Whether the server is up."""
