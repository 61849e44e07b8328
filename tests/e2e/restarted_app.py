"""The app whose server the dashboard's tests stop and start again."""

from fastapi import FastAPI

from taskflow import TaskAdmin, TaskManager

manager = TaskManager()
app = FastAPI()
TaskAdmin(app, manager)


@manager.task()
async def greet(name: str) -> None:
    """A task to be seen."""


@app.post("/greetings/{name}")
async def add(name: str) -> str:
    return manager.enqueue(greet, name, tags={"name": name})
