"""Whether the manager can do its work."""

from __future__ import annotations

from typing import Any

from taskflow.manager import TaskManager

__all__ = ["health"]


def health(task_manager: TaskManager) -> dict[str, Any]:
    """``ok``, and the ``reasons`` if it is not."""
    reasons = []
    if not task_manager.running:
        reasons.append("the TaskManager has not started, or is shutting down")
    if task_manager.backend_error is not None:
        reasons.append(f"the backend cannot be used: {task_manager.backend_error}")
    return {"ok": not reasons, "reasons": reasons}
