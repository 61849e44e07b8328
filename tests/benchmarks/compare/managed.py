"""Taskflow."""

from __future__ import annotations

from pathlib import Path

from fastapi import Depends, FastAPI
from prometheus_client import CollectorRegistry

from taskflow import (
    FileLogger,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    TaskObserver,
    task_log,
)
from tests.benchmarks.compare.system import LINE, LOG, System, noop


async def logging_noop() -> None:
    """A line and nothing else."""
    task_log(LINE)


class Taskflow(System):
    """With everything observed: two spans, every metric, a JSON line for each state and each `task_log`."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.manager = TaskManager(loggers=self._observers(folder) if folder else None)
        self._task = self.manager.task(name="noop")(logging_noop if folder else noop)

    def _observers(self, folder: Path) -> list[TaskObserver]:
        return [
            OpenTelemetryObserver(self.provider),
            PrometheusObserver(CollectorRegistry()),
            FileLogger(folder / LOG, log_lifecycle=True, format="json"),
        ]

    async def request(self) -> None:
        tasks = ManagedBackgroundTasks(self.manager)
        tasks.add_task(self._task)
        await tasks()

    def app(self) -> FastAPI:
        app = FastAPI()
        manager = self.manager
        manager.init_app(app)

        # A default, because an annotation would be read outside of this function.
        @app.post("/")
        async def route(tasks: ManagedBackgroundTasks = Depends(manager.get_tasks)) -> dict[str, str]:  # noqa: B008 - see above
            return {"task": tasks.add_task(self._task)}

        return app

    async def start(self) -> None:
        await self.manager.startup()

    async def settle(self) -> None:
        if self.manager.logger is not None:
            await self.manager.logger.flush()

    async def stop(self) -> None:
        await self.manager.shutdown()
