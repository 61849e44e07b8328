"""Step 2: the same with Taskflow, and with retries."""

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
task_manager = TaskManager()
TaskAdmin(app, task_manager)
Tasks = Annotated[ManagedBackgroundTasks, Depends(task_manager.get_tasks)]


@task_manager.task(retries=3, delay=0.5, backoff=2.0)
def send_welcome(address: str) -> None:
    """The mail server is a stand-in: it is busy the first time."""
    context = get_task_context()
    if context is not None and context.attempt == 0:
        raise ConnectionError(f"busy, {address} has to wait")
    task_log(f"sent to {address}")


@task_manager.task()
def count_signup(address: str) -> None:
    """The next task of the same request."""
    task_log(f"counted {address}")


@app.post("/signups", status_code=202)
async def sign_up(address: str, tasks: Tasks) -> dict[str, str]:
    """Answer first; the tasks run afterwards."""
    task_id = tasks.add_task(send_welcome, address)
    tasks.add_task(count_signup, address)
    return {"task_id": task_id}
