"""Step 6: all of it together, with a login before it."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI

from taskflow import (
    ManagedBackgroundTasks,
    PrometheusObserver,
    TaskAdmin,
    TaskManager,
    get_task_context,
    task_log,
)

app = FastAPI()
task_manager = TaskManager(
    snapshot_db=os.environ.get("TASKS_DB", "tasks.db"),
    loggers=[PrometheusObserver()],
)
TaskAdmin(
    app,
    task_manager,
    auth=("admin", os.environ.get("ADMIN_PASSWORD", "only for this tutorial")),
    metrics_token=os.environ.get("METRICS_TOKEN", "for-prometheus"),
)
Tasks = Annotated[ManagedBackgroundTasks, Depends(task_manager.get_tasks)]


@task_manager.task(persist=True, retries=3, delay=0.5, backoff=2.0)
def send_welcome(address: str) -> None:
    """The mail server is a stand-in: busy the first time, and always for Eve."""
    context = get_task_context()
    if address.startswith("eve@") or (context is not None and context.attempt == 0):
        raise ConnectionError(f"busy, {address} has to wait")
    task_log(f"sent to {address}")


@app.post("/signups", status_code=202)
async def sign_up(address: str, tasks: Tasks) -> dict[str, str]:
    """Answer first; the task runs afterwards."""
    domain = address.partition("@")[2]
    return {"task_id": tasks.add_task(send_welcome, address, tags={"domain": domain})}
