"""The app that the Prometheus tests start with uvicorn: tasks of every fate, and ``/metrics``."""

import asyncio
import os
import threading
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from taskflow import (
    LifecycleEvent,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    TaskObserver,
    TaskStatus,
    get_task_context,
    task_log,
)
from taskflow.metrics import mount_metrics


class Broken(TaskObserver):
    """Raises for one kind of task."""

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        if event.func_name == "offend":
            raise ValueError("offended")


class Slow(TaskObserver):
    """Never finishes its first event, and has room for one more."""

    queue_limit = 1

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await asyncio.Event().wait()


provider = TracerProvider(sampler=ParentBased(ALWAYS_ON))
prometheus = PrometheusObserver()
manager = TaskManager(
    loggers=[OpenTelemetryObserver(provider), prometheus, Broken(), Slow()],
    max_concurrent_tasks=10,
    max_sync_threads=2,
    dispatch="detached",
    shutdown_timeout=1,
)
manager.logger.close_timeout = 0.5
app = FastAPI(telemetry={"tracer_provider": provider, "metrics": False})
manager.init_app(app)
mount_metrics(app, manager, token=os.environ.get("METRICS_TOKEN"))
Tasks = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]

opened = asyncio.Event()


@manager.task()
async def send() -> None:
    task_log("sent")


@manager.task()
def resize() -> None:
    task_log("resized", level="debug")


@manager.task(retries=1)
async def flaky() -> None:
    if get_task_context().attempt == 0:
        raise ConnectionError("try again")


@manager.task(retries=1)
async def broken() -> None:
    raise LookupError("never works")


@manager.task()
async def hold() -> None:
    await opened.wait()


@manager.task()
async def offend() -> None:
    """Its events hurt an observer."""


TASKS = {func.__name__: func for func in (send, resize, flaky, broken, hold, offend)}


@app.post("/tasks/{name}")
async def add(name: str, tasks: Tasks, count: int = 1) -> int:
    for _ in range(count):
        tasks.add_task(TASKS[name])
    return os.getpid()


@app.post("/bursts/{name}")
async def burst(name: str, count: int) -> None:
    """All at once: tasks of one request run one after the other."""
    for _ in range(count):
        manager.enqueue(TASKS[name])


@app.post("/release")
async def release() -> None:
    opened.set()


@app.post("/persistence")
async def persistence() -> None:
    """What a backend, its scheduler and a restart will report."""
    prometheus.persistence.flush_finished(records=7, seconds=0.5)
    prometheus.persistence.flush_failed()
    prometheus.persistence.operation("sqlite", "save", "success", 0.002)
    event = LifecycleEvent(
        task_id="0",
        func_name="send",
        status=TaskStatus.PENDING,
        timestamp=datetime.now(UTC),
        registered=True,
        reason="requeued",
    )
    manager.stream.lifecycle(event)


stuck = threading.Event()


@app.get("/stuck")
def stuck_route() -> None:
    """One thread of the pool that all sync routes share, until the process ends."""
    stuck.wait(30)


@app.post("/unstick")
async def unstick() -> None:
    stuck.set()


@app.get("/ready")
async def ready() -> int:
    return os.getpid()
