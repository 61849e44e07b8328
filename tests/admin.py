"""How tests talk to an application that a `TaskAdmin` is mounted on."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI

from taskflow import TaskAdmin, TaskManager


def admin_app(manager: TaskManager, **options: Any) -> FastAPI:
    """A new application with the manager's admin."""
    app = FastAPI()
    TaskAdmin(app, manager, **options)
    return app


def client(app: Any, **options: Any) -> httpx.AsyncClient:
    """Talks to the application on the test's own event loop, without its lifespan: start the manager."""
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://app")
