"""The published `fastapi-taskflow`, for the environment of its own that `environment` makes."""

from __future__ import annotations

from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi_taskflow import (
    FileLogger,
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    TaskManager,
    TaskObserver,
    task_log,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind
from prometheus_client import CollectorRegistry, Counter, Histogram

from tests.benchmarks.compare.system import LINE, LOG, System, noop


async def logging_noop() -> None:
    """A line and nothing else."""
    task_log(LINE)


class Spans(TaskObserver):
    """One span a task; the library has no observer for traces."""

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__()
        self._tracer = provider.get_tracer("by hand")
        self._open: dict[str, Span] = {}

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        if event.status.value == "running":
            attributes = {"task.id": event.task_id, "task.name": event.func_name}
            self._open[event.task_id] = self._tracer.start_span(
                f"run {event.func_name}", kind=SpanKind.CONSUMER, attributes=attributes
            )
        elif span := self._open.pop(event.task_id, None):
            span.set_attribute("task.status", event.status.value)
            span.end()

    async def on_log(self, event: LogEvent) -> None:
        if span := self._open.get(event.task_id):
            span.add_event(event.message)


class Metrics(TaskObserver):
    """The same two metrics as by hand; the library has no observer for Prometheus."""

    def __init__(self) -> None:
        super().__init__()
        registry = CollectorRegistry()
        self._finished = Counter("tasks_finished", "Tasks", ["task", "status"], registry=registry)
        self._seconds = Histogram("task_duration_seconds", "Time", ["task"], registry=registry)

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        if event.duration is not None:
            self._finished.labels(event.func_name, event.status.value).inc()
            self._seconds.labels(event.func_name).observe(event.duration)


class Peer(System):
    """With everything observed: one span, two metrics, and a text line for each state and each `task_log`."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.manager = TaskManager(loggers=self._observers(folder) if folder else None)
        self._task = self.manager.task()(logging_noop if folder else noop)

    def _observers(self, folder: Path) -> list[TaskObserver]:
        return [Spans(self.provider), Metrics(), FileLogger(str(folder / LOG), log_lifecycle=True)]

    async def request(self) -> None:
        tasks = ManagedBackgroundTasks(self.manager)
        tasks.add_task(self._task)
        await tasks()

    def app(self) -> FastAPI:
        app = FastAPI(lifespan=self.lifespan)

        @app.post("/")
        async def route(tasks: ManagedBackgroundTasks = Depends(self.manager.get_tasks)) -> dict[str, str]:  # noqa: B008 - an annotation would be read outside of this function
            return {"task": tasks.add_task(self._task)}

        return app

    async def start(self) -> None:
        await self.manager.startup()

    async def stop(self) -> None:
        await self.manager.shutdown()
