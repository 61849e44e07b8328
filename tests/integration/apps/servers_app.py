"""The app that `test_servers.py` runs under every server: durable tasks that wait until they may end.

Configured by environment variables. What tasks do goes to the file ``ledger`` in ``FOLDER``, a line each.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI

from taskflow import ManagedBackgroundTasks, TaskAdmin, TaskManager, get_task_context
from taskflow.admin.feed import client

FOLDER = Path(os.environ["FOLDER"])
GATE = FOLDER / "gate"

# The bounds of minutes, in less.
client.LIFETIME = float(os.environ.get("STREAM_LIFETIME", client.LIFETIME))

manager = TaskManager(
    snapshot_db=str(FOLDER / "tasks.db"),
    dispatch=os.environ["DISPATCH"],
    shutdown_timeout=float(os.environ.get("SHUTDOWN_TIMEOUT", "0.5")),
    handle_signals="NO_SIGNALS" not in os.environ,
    requeue_pending=True,
    max_concurrent_tasks=3,
    heartbeat_interval=0.5,
    lease_timeout=3.0,
    rescue_interval=0.3,
    # A task of which workers were killed so often is not tried again; here they are killed on purpose.
    max_rescues=100,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Tell that a worker starts."""
    (FOLDER / f"up-{os.getpid()}").touch()
    yield


app = FastAPI(lifespan=lifespan)
TaskAdmin(app, manager)
Tasks = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]


def note(event: str) -> None:
    """Append a line in one write, which no other process can get into."""
    record = get_task_context()
    line = f"{event} {record.func_name} {record.task_id} {os.getpid()}\n"
    with (FOLDER / "ledger").open("ab", buffering=0) as ledger:
        ledger.write(line.encode())


async def work() -> None:
    note("began")
    while not GATE.exists():  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.02)
    note("ended")


@manager.task(persist=True, requeue_on_interrupt=True)
async def again() -> None:
    await work()


@manager.task(persist=True)
async def once() -> None:
    await work()


@manager.task(persist=True)
def in_thread() -> None:
    note("began")
    while not GATE.exists():
        time.sleep(0.02)
    note("ended")


@manager.task(persist=True, retries=1, delay=3600)
async def retried() -> None:
    note("began")
    raise LookupError("not yet")


@manager.task()
async def not_kept() -> None:
    try:
        await work()
    except asyncio.CancelledError:
        note("cancelled")
        raise


FUNCTIONS = {func.__name__: func for func in (again, once, in_thread, retried, not_kept)}


@app.post("/add/{names}")
async def add(names: str, tasks: Tasks) -> list[str]:
    """Add the tasks named, separated by commas."""
    return [tasks.add_task(FUNCTIONS[name]) for name in names.split(",")]


@app.get("/pid")
async def pid() -> int:
    return os.getpid()
