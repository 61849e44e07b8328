"""An application with a login, for `test_admin_auth.py` to serve by several processes."""

from __future__ import annotations

import os

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from taskflow import TaskAdmin, TaskManager

manager = TaskManager()
inner = FastAPI()
TaskAdmin(inner, manager, auth=("ada", "correct horse"), secret_key="a key that the processes share")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The application; each answer tells which process it is from."""

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-process", str(os.getpid()).encode()))
        await send(message)

    await inner(scope, receive, telling)
