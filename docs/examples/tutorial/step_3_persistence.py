"""Step 3: tasks that outlive their process."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI

from taskflow import (
    ManagedBackgroundTasks,
    TaskAdmin,
    TaskManager,
    get_task_context,
    task_log,
)

app = FastAPI()
task_manager = TaskManager(
    snapshot_db=os.environ.get("TASKS_DB", "tasks.db"),
    heartbeat_interval=1.0,  # 10 and 30 by default: here you need not wait so long
    lease_timeout=5.0,
)
TaskAdmin(app, task_manager)
Tasks = Annotated[ManagedBackgroundTasks, Depends(task_manager.get_tasks)]


@task_manager.task(persist=True, retries=3, delay=10.0)
def send_welcome(address: str) -> None:
    """The mail server is a stand-in: it is busy the first time."""
    context = get_task_context()
    if context is not None and context.attempt == 0:
        raise ConnectionError(f"busy, {address} has to wait")
    task_log(f"sent to {address} by process {os.getpid()}")


@app.post("/signups", status_code=202)
async def sign_up(address: str, tasks: Tasks) -> dict[str, str]:
    """The answer starts when the task is on the disk. One welcome for each address."""
    task_id = tasks.add_task(send_welcome, address, idempotency_key=f"welcome:{address}")
    return {"task_id": task_id}
