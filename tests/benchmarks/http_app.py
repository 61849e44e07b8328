"""The app that the HTTP benchmark serves: a route that adds a no-op task, on bare FastAPI or on Taskflow."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI

from taskflow import ManagedBackgroundTasks, TaskManager

SYSTEM = os.environ.get("BENCH_SYSTEM", "bare")

app = FastAPI()
manager = TaskManager()


@manager.task()
async def noop() -> None:
    """Nothing."""


if SYSTEM == "depends":
    manager.init_app(app)

    @app.post("/")
    async def depends(
        tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
    ) -> dict[str, str]:
        """Add a managed task, injected by a dependency."""
        return {"task": tasks.add_task(noop)}

elif SYSTEM == "install":
    manager.init_app(app)
    manager.install(app)

    @app.post("/")
    async def installed(tasks: ManagedBackgroundTasks) -> dict[str, str]:
        """Add a managed task, injected by annotation."""
        return {"task": tasks.add_task(noop)}

else:

    @app.post("/")
    async def bare(tasks: BackgroundTasks) -> dict[str, str]:
        """Add a plain task."""
        tasks.add_task(noop)
        return {"task": "01234567-89ab-4def-8123-456789abcdef"}
