"""The dashboard, the REST API and the live stream of a `TaskManager`'s tasks."""

from __future__ import annotations

from taskflow.admin.admin import TaskAdmin
from taskflow.admin.auth import TaskAuthBackend

__all__ = ["TaskAdmin", "TaskAuthBackend"]
