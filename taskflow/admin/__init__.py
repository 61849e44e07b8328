"""The dashboard, the REST API and the live stream of a `TaskManager`'s tasks."""

from __future__ import annotations

from taskflow.admin.access.auth import TaskAuthBackend
from taskflow.admin.admin import TaskAdmin

__all__ = ["TaskAdmin", "TaskAuthBackend"]
