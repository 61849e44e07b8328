"""What this room needs of a task manager."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from taskflow.execution.dispatch import Dispatcher
from taskflow.execution.enqueue import Enqueuer
from taskflow.execution.running.attempt import Execution

__all__ = ["Runner", "TaskHost"]

Runner = Callable[[Execution], Awaitable[None]]
"""Runs an execution, or hands it to the manager."""


class TaskHost(Protocol):
    """Takes the tasks of requests, and lives as long as the application does; `TaskManager` is one.

    Attributes:
        enqueuer: makes a record and an execution of a call.
        dispatcher: drives executions that their request does not drive.
    """

    enqueuer: Enqueuer
    dispatcher: Dispatcher

    def request_runner(self) -> Runner:
        """What runs the tasks of one request, in the order in which it is called."""

    async def startup(self) -> None:
        """Start, unless started."""

    async def shutdown(self) -> None:
        """Let accepted tasks finish within a deadline, and stop."""
