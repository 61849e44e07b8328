"""Giving routes a `ManagedBackgroundTasks` where they ask for `BackgroundTasks`.

FastAPI makes the object itself, by the name ``BackgroundTasks`` in ``fastapi.dependencies.utils``,
without arguments and without telling for which app. So the name is replaced, for the whole process,
and the request that is being served tells which manager it is for.
"""

from __future__ import annotations

import threading

import fastapi
import fastapi.dependencies.utils
from fastapi import FastAPI

from taskflow.web.background import ManagedBackgroundTasks
from taskflow.web.host import TaskHost
from taskflow.web.middleware import TaskflowMiddleware, current_request

__all__ = ["add_middleware", "install", "is_installed", "uninstall"]

_installed: list[TaskHost] = []
_lock = threading.Lock()


class InjectedBackgroundTasks(ManagedBackgroundTasks):
    """What FastAPI makes instead of its own class while a manager is installed."""

    def __init__(self) -> None:
        request = current_request()
        installed = request is not None and request.manager in _installed
        super().__init__(request.manager if request is not None and installed else _installed[-1])


def install(task_manager: TaskHost, app: FastAPI) -> None:
    """Inject ``task_manager`` into the routes of ``app``, and of apps that no manager was installed on."""
    add_middleware(task_manager, app)
    with _lock:
        if task_manager in _installed:
            _installed.remove(task_manager)
        _installed.append(task_manager)
        _replace(InjectedBackgroundTasks)


def uninstall(task_manager: TaskHost) -> None:
    """Undo `install`; FastAPI's class comes back when the last manager leaves."""
    with _lock:
        if task_manager in _installed:
            _installed.remove(task_manager)
        if not _installed:
            _replace(fastapi.BackgroundTasks)


def is_installed() -> bool:
    """Whether any manager is installed: then every such annotation gets a managed object."""
    return bool(_installed)


def _replace(cls: type[fastapi.BackgroundTasks]) -> None:
    vars(fastapi.dependencies.utils)["BackgroundTasks"] = cls


def add_middleware(task_manager: TaskHost, app: FastAPI) -> None:
    """Add the manager's `TaskflowMiddleware` to ``app``, once.

    Raises:
        RuntimeError: the app has started.
    """
    for middleware in app.user_middleware:
        added: object = middleware.cls
        if added is TaskflowMiddleware and middleware.kwargs.get("task_manager") is task_manager:
            return
    app.add_middleware(TaskflowMiddleware, task_manager=task_manager)
