"""The task that the current code runs in: `task_log`, `get_task_context`, and a filter for log records."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from taskflow.core.checks import check_choice
from taskflow.core.events import LEVELS, Level, LogEvent
from taskflow.core.models import TaskRecord
from taskflow.core.spans import current_span_ids

__all__ = ["TaskContext", "TaskLogFilter", "get_task_context", "task_log"]

logger = logging.getLogger("taskflow.task")


@dataclass(slots=True)
class TaskContext:
    """The task that the current code runs in.

    Attributes:
        task_id: its UUID.
        func_name: its registered name.
        attempt: 0 for the first run, 1 for the first retry, ...
        tags: the tags given when it was enqueued.
    """

    task_id: str
    func_name: str
    attempt: int
    tags: Mapping[str, str] = field(default_factory=dict)


class LogSink(Protocol):
    """Where the lines of a task go: its store."""

    def log(self, event: LogEvent) -> None:
        """Take one line."""


_current: ContextVar[tuple[TaskRecord, int, LogSink] | None] = ContextVar("taskflow_task", default=None)


def enter_task(record: TaskRecord, sink: LogSink) -> None:
    """Begin the record's next attempt in the current `contextvars.Context`, which is the attempt's own."""
    # The number is fixed here: a straggler of this attempt may log while the next one runs.
    _current.set((record, record.retries_used, sink))


def get_task_context() -> TaskContext | None:
    """The task that the current code runs in; ``None`` outside of tasks."""
    current = _current.get()
    if current is None:
        return None
    record, attempt, _ = current
    return TaskContext(record.task_id, record.func_name, attempt, record.tags)


def task_log(message: str, *, level: Level = "info", **extra: Any) -> None:
    """Log a line of the current task: kept on its record, and passed to every observer.

    Works in async tasks, sync tasks and whatever they call. Outside of a task the line goes to the
    standard library logger ``taskflow.task``, with ``extra`` as the record's ``task_extra``.

    Args:
        message: the text.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        extra: structured values for observers.

    Raises:
        ConfigurationError: the level is unknown (a `ValueError`).
    """
    if level not in LEVELS:  # check_choice alone would be a call more on the hot path
        check_choice("level", level, LEVELS)
    current = _current.get()
    if current is None:
        logger.log(
            logging.getLevelNamesMapping()[level.upper()], message, extra={"task_extra": extra}, stacklevel=2
        )
        return
    record, attempt, sink = current
    event = LogEvent.__new__(LogEvent)  # field by field, as `taskflow.execution.stream` makes its events
    event.task_id, event.func_name, event.tags = record.task_id, record.func_name, record.tags
    event.message, event.level, event.extra = str(message), level, extra
    event.timestamp, event.attempt, event.span = datetime.now(UTC), attempt, current_span_ids()
    sink.log(event)


class TaskLogFilter(logging.Filter):
    """Puts the current task and trace on ordinary log records, for use in a format string.

    Sets ``task_id``, ``task_name``, ``task_attempt`` (from 1), ``trace_id``, ``span_id`` (lowercase hex, as
    in W3C Trace Context); ``"-"`` where there is none. Lets every record pass. Add it to handlers, not
    to loggers: a logger's filter does not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attributes; always true."""
        task = get_task_context()
        record.task_id = task.task_id if task else "-"
        record.task_name = task.func_name if task else "-"
        record.task_attempt = task.attempt + 1 if task else "-"
        ids = current_span_ids()
        record.trace_id = ids.trace_id if ids else "-"
        record.span_id = ids.span_id if ids else "-"
        return True
