"""Finds the tasks that Starlette never reaches.

Starlette drops a request's tasks in silence when the route raises, when the response fails
validation, when a `Response` brings a background of its own, and when a plain task before them raises.
This pure ASGI middleware sees how the request ended, and settles what was left.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskflow.execution import Execution

if TYPE_CHECKING:
    from taskflow.manager import TaskManager

__all__ = ["RequestTasks", "TaskflowMiddleware", "current_request"]


class RequestTasks:
    """The tasks of one request, and how its response went.

    Attributes:
        executions: what the request enqueued, in order.
        manager: whose middleware the request came through.
        status: HTTP status of the response, ``None`` before it started.
        complete: whether its last byte was sent.
        over: whether the request has ended; contexts copied from it live on in its tasks.
    """

    __slots__ = ("complete", "executions", "manager", "over", "status")

    def __init__(self, manager: TaskManager) -> None:
        self.executions: list[Execution] = []
        self.manager = manager
        self.status: int | None = None
        self.complete = False
        self.over = False

    def note(self, message: Message) -> None:
        """Take note of an ASGI message of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] in ("http.response.body", "http.response.pathsend"):
            self.complete = not message.get("more_body", False)

    def succeeded(self, raised: bool) -> bool:
        """Whether the response went out as the route meant it.

        After a complete response an exception comes from the background, and the status is whatever
        the route chose; without one, a status of 400 or more is what an exception handler made of a
        route that raised.
        """
        if raised:
            return self.complete
        return self.status is None or self.status < 400


_request: ContextVar[RequestTasks | None] = ContextVar("taskflow_request", default=None)


def current_request() -> RequestTasks | None:
    """The request that the current code runs in; ``None`` outside, and once the request is over."""
    request = _request.get()
    return None if request is None or request.over else request


class TaskflowMiddleware:
    """Settles the tasks that a request enqueued and Starlette did not reach.

    Those of a failed response become CANCELLED (``not_dispatched``); the others are started by the
    manager, in order. `TaskAdmin`, `TaskManager.init_app` and `TaskManager.install` add it.
    """

    def __init__(self, app: ASGIApp, task_manager: TaskManager) -> None:
        self.app = app
        self.task_manager = task_manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = RequestTasks(self.task_manager)

        async def noting_send(message: Message) -> None:
            await send(message)
            request.note(message)

        token = _request.set(request)
        raised = True
        try:
            await self.app(scope, receive, noting_send)
            raised = False
        finally:
            _request.reset(token)
            request.over = True
            if request.executions:
                self._settle(request, raised)

    def _settle(self, request: RequestTasks, raised: bool) -> None:
        left = [execution for execution in request.executions if not execution.taken]
        if not left:
            return
        if request.succeeded(raised):
            self.task_manager.dispatcher.dispatch(left)
        else:
            for execution in left:
                self.task_manager.executor.skip(execution, "not_dispatched")
