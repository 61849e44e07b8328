"""Whether the manager can do its work."""

from __future__ import annotations

from typing import Any

from taskflow.manager import TaskManager

__all__ = ["health", "is_live"]


def is_live(task_manager: TaskManager) -> bool:
    """Whether the manager has started and has not stopped; a shutdown that goes on is still life."""
    return task_manager.dispatcher.started


def health(task_manager: TaskManager) -> dict[str, Any]:
    """``ok``, and the ``reasons`` if it is not; and what waits although all is well."""
    reasons = []
    if not task_manager.running:
        reasons.append("the TaskManager has not started, or is shutting down")
    if task_manager.backend_error is not None:
        reasons.append(f"the backend cannot be used: {task_manager.backend_error}")
    waiting = [
        f"{count} stored tasks wait for a function named {name!r}, which is not registered here"
        for name, count in task_manager.waiting.items()
    ]
    return {"ok": not reasons, "reasons": reasons, "waiting": waiting}
