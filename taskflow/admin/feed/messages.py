"""The messages of the stream."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from taskflow.admin.feed.sse import frame
from taskflow.core.events import LifecycleEvent, LogEvent

__all__ = ["Change", "encode_change", "slim"]

ERROR_LENGTH = 200
"""Characters of an error that are sent; the record has all of it."""

Change = tuple[LifecycleEvent | LogEvent, datetime | None]
"""An event, and when its task was created, if that is known."""


def slim(event: LifecycleEvent) -> LifecycleEvent:
    """The event without traceback and long error: events in a ring must not keep much memory."""
    if event.error is None and event.stacktrace is None:
        return event
    return dataclasses.replace(event, stacktrace=None, error=(event.error or "")[:ERROR_LENGTH])


def encode_change(change: Change, position: str) -> bytes:
    """A change as a message with its position."""
    event, created = change
    if isinstance(event, LogEvent):
        return frame("log", _log(event), position)
    return frame("task", _task(event, created), position)


def _task(event: LifecycleEvent, created: datetime | None) -> dict[str, Any]:
    return {
        "task_id": event.task_id,
        "func_name": event.func_name,
        "status": event.status.value,
        "created_at": None if created is None else created.isoformat(),
        "timestamp": event.timestamp.isoformat(),
        "attempt": event.attempt,
        "retries_used": event.retries_used,
        "max_retries": event.max_retries,
        "duration": event.duration,
        "error": event.error,
        "error_type": event.error_type,
        "tags": dict(event.tags),
        "retry_of": event.retry_of,
        "reason": event.reason,
        "next_delay": event.next_delay,
    }


def _log(event: LogEvent) -> dict[str, Any]:
    return {
        "task_id": event.task_id,
        "level": event.level,
        "message": event.message,
        "timestamp": event.timestamp.isoformat(),
        "attempt": event.attempt,
    }
