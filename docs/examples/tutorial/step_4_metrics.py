"""Step 4: what Prometheus reads."""

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
task_manager = TaskManager(loggers=[PrometheusObserver()], max_sync_threads=4)
TaskAdmin(app, task_manager)
Tasks = Annotated[ManagedBackgroundTasks, Depends(task_manager.get_tasks)]


@task_manager.task(retries=3, delay=0.5, backoff=2.0)
def send_welcome(address: str) -> None:
    """The mail server is a stand-in: it is busy the first time."""
    context = get_task_context()
    if context is not None and context.attempt == 0:
        raise ConnectionError(f"busy, {address} has to wait")
    task_log(f"sent to {address}")


@app.post("/signups", status_code=202)
async def sign_up(address: str, tasks: Tasks) -> dict[str, str]:
    """Answer first; the task runs afterwards."""
    return {"task_id": tasks.add_task(send_welcome, address)}
