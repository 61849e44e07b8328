"""Finds the tasks that Starlette never reaches.

Starlette drops a request's tasks in silence when the route raises, when the response fails
validation, when a `Response` brings a background of its own, and when a plain task before them raises.
This pure ASGI middleware sees how the request ended, and settles what was left.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Self

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from taskflow.core.exceptions import CommitError, ManagerNotStartedError
from taskflow.execution.gate import Gate
from taskflow.execution.running.attempt import Execution
from taskflow.web.host import TaskHost

logger = logging.getLogger("taskflow")

RETRY_AFTER = "5"
"""Seconds, for clients that were refused: about the time that a database takes to come back."""

__all__ = ["RequestTasks", "TaskflowMiddleware", "current_request"]


class RequestTasks:
    """The tasks of one request, and how its response went.

    Attributes:
        tasks: what the request enqueued, in order, each with its manager.
        manager: whose middleware the request came through.
        is_socket: whether it is a WebSocket: there is no response that could promise anything.
        status: HTTP status of the response, ``None`` before it started.
        complete: whether its last byte was sent.
        failed: whether what should have made the response raised; ``None`` where nobody can tell.
        promises: the tasks that must be stored before the response starts.
        refused: whether the response was replaced, because one could not be.
        over: whether the request has ended; contexts copied from it live on in its tasks.
    """

    # Defaults on the class: of most requests, none of these is ever set.
    failed: bool | None = None
    status: int | None = None
    complete: bool = False
    refused: bool = False
    over: bool = False

    def __init__(self, manager: TaskHost, scope: Scope) -> None:
        self.tasks: list[tuple[TaskHost, Execution]] = []
        self.promises: list[Gate] = []
        self.manager = manager
        self.is_socket = scope["type"] == "websocket"
        self._scope = scope

    def add(self, manager: TaskHost, execution: Execution) -> None:
        """Take note of a task; the first one makes it watch how the route ends."""
        if not self.tasks:
            # FastAPI closes this stack between the route and the response, with the
            # route's exception if there is one; the status alone does not tell.
            stack = self._scope.get("fastapi_function_astack")
            if isinstance(stack, AsyncExitStack):
                self.failed = False
                stack.push(self)  # with an __exit__: of a function, contextlib finds out by an exception
        self.tasks.append((manager, execution))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self.failed = exc_type is not None and not issubclass(exc_type, WebSocketDisconnect)

    def note(self, message: Message) -> None:
        """Take note of an ASGI message of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] in ("http.response.body", "http.response.pathsend"):
            self.complete = not message.get("more_body", False)

    def runs(self, execution: Execution, raised: bool) -> bool:
        """Whether a task that Starlette has not reached is to run."""
        told = self.status is not None and self.status < 400 and not self.refused
        return self.succeeded(raised) or (execution.gate is not None and told)

    def succeeded(self, raised: bool) -> bool:
        """Whether the response went out as the route meant it.

        After a complete response an exception comes from the background, and the status is whatever
        the route chose. Outside of FastAPI's routes nobody tells whether the route raised: there a
        status of 400 or more counts as what an exception handler made of it.
        """
        if self.failed or (raised and not self.complete):
            return False
        return raised or self.failed is False or self.status is None or self.status < 400

    async def keep_promises(self, message: Message) -> str | None:
        """Before the response starts: wait until what it promises is stored; why not, if it cannot be."""
        if message["type"] != "http.response.start" or self.failed:
            return None
        try:
            for promise in self.promises:
                await promise.committed()
        except CommitError as error:
            return error.public
        return None

    def refuse(self) -> None:
        """The response is not what the route meant: none of the tasks may run."""
        self.refused = self.failed = True
        for manager, execution in self.tasks:
            if execution.take():
                manager.dispatcher.driver.skip(execution, "not_dispatched")


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

    def __init__(self, app: ASGIApp, task_manager: TaskHost) -> None:
        self.app = app
        self.task_manager = task_manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = RequestTasks(self.task_manager, scope)

        def noting_send(message: Message) -> Awaitable[None]:
            # Not an async def: what most messages need is only passed on, in every request of the app.
            if request.promises or request.refused:
                return _send_if_kept(request, message, scope, receive, send)
            if request.tasks:  # other requests pay nothing
                # Before: from now on the bytes may reach the client, also if this is cancelled meanwhile.
                request.note(message)
            return send(message)

        token = _request.set(request)
        raised = True
        try:
            await self.app(scope, receive, noting_send)
            raised = False
        except WebSocketDisconnect:  # how most sockets end
            raised = False
            raise
        except ManagerNotStartedError as error:
            # A server without a lifespan has not started the manager: the same answer as to any client
            # whose task could not be stored.
            if scope["type"] != "http" or request.status is not None:
                raise
            logger.error("a request was refused: %s", error)  # noqa: TRY400
            await _unavailable(str(error))(scope, receive, send)
        finally:
            _request.reset(token)
            request.over = True
            if request.tasks:
                left = [each for each in request.tasks if not each[1].taken]
                if left:
                    await _settle(request, left, raised)
                request.tasks.clear()  # each task's context names the request: a cycle, left to the collector


def _unavailable(reason: str) -> JSONResponse:
    """What the client gets instead: nothing was accepted, and trying again may help."""
    return JSONResponse({"detail": reason}, 503, {"Retry-After": RETRY_AFTER})


async def _send_if_kept(
    request: RequestTasks, message: Message, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send a message of a response once what the response promises is stored; another one if it cannot be."""
    if request.refused:
        return  # the rest of the response that was replaced
    reason = await request.keep_promises(message)
    if reason is not None:
        request.refuse()
        await _unavailable(reason)(scope, receive, send)
        return
    request.note(message)  # before, as above
    await send(message)


async def _settle(request: RequestTasks, left: list[tuple[TaskHost, Execution]], raised: bool) -> None:
    starting: dict[TaskHost, list[Execution]] = {}
    for manager, execution in left:
        if request.runs(execution, raised):
            starting.setdefault(manager, []).append(execution)
        else:
            manager.dispatcher.driver.skip(execution, "not_dispatched")
    for manager, executions in starting.items():
        await manager.dispatcher.follow_up(executions)
