"""The app that `test_shutdown.py` ends by signals: routes that add tasks of every temper.

Configured by environment variables. The lifecycle goes to ``LOG_FOLDER`` as JSON lines, one file for each
process. A task that must not end by itself waits for the file ``GATE``.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI

from taskflow import FileLogger, ManagedBackgroundTasks, TaskManager

FOLDER = Path(os.environ["LOG_FOLDER"])
GATE = FOLDER / "gate"
LIMIT = int(os.environ["LIMIT"]) if "LIMIT" in os.environ else None

log = FileLogger(str(FOLDER / "tasks-{pid}.log"), log_lifecycle=True, format="json")
manager = TaskManager(
    loggers=[log],
    dispatch=os.environ["DISPATCH"],
    shutdown_timeout=float(os.environ["SHUTDOWN_TIMEOUT"]),
    max_concurrent_tasks=LIMIT,
    max_sync_threads=LIMIT,
)
app = FastAPI()
manager.init_app(app)
Tasks = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]


@manager.task()
async def hang() -> None:
    await asyncio.Event().wait()


@manager.task()
async def refuse_to_stop() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


@manager.task()
def work_in_a_thread() -> None:
    while not GATE.exists():
        time.sleep(0.02)


@manager.task(retries=3, delay=7200)
async def fail() -> None:
    raise LookupError("not yet")


@manager.task()
async def quick() -> None: ...


@manager.task()
async def finish_in_time() -> None:
    while not (FOLDER / "in-time").exists():  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.02)


FUNCTIONS = (hang, refuse_to_stop, work_in_a_thread, fail, quick, finish_in_time)
BY_NAME = {func.__name__: func for func in FUNCTIONS}


@app.post("/add/{names}")
async def add(names: str, tasks: Tasks) -> int:
    """Add the tasks named, separated by commas; answer with the process."""
    for name in names.split(","):
        tasks.add_task(BY_NAME[name])
    return os.getpid()


@app.post("/late/{name}")
async def late(name: str, tasks: Tasks) -> str:
    """Add a task only once the file ``late`` is there."""
    (FOLDER / "waiting").touch()
    while not (FOLDER / "late").exists():  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.02)
    return tasks.add_task(BY_NAME[name])
