"""An application whose stream `test_admin_stream.py` listens to while the process is told to end."""

from __future__ import annotations

from fastapi import FastAPI

from taskflow import TaskAdmin, TaskManager

# Who waits for the streams would wait for hours.
manager = TaskManager(shutdown_timeout=3600)
app = FastAPI()
TaskAdmin(app, manager)


@manager.task()
async def quick() -> None:
    """Nothing."""


@app.post("/quick")
async def enqueue() -> str:
    """Enqueue a task."""
    return manager.enqueue(quick)
