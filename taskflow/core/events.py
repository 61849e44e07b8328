"""The events that observers receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from taskflow.core.models import TaskStatus
from taskflow.core.spans import SpanIds, current_span_ids

__all__ = ["LEVELS", "RANKS", "BackendEvent", "Level", "LifecycleEvent", "LogEvent", "is_at_least"]

Level = Literal["debug", "info", "warning", "error"]

LEVELS: tuple[str, ...] = get_args(Level)
"""The levels of `task_log`, from the least to the most severe."""

RANKS = {level: rank for rank, level in enumerate(LEVELS)}
"""Severity of each level, as a number."""


def is_at_least(level: str, min_level: str) -> bool:
    """Whether ``level`` is as severe as ``min_level``, or more severe."""
    return RANKS[level] >= RANKS[min_level]


# Immutable by convention: frozen=True makes __init__ about twice as slow, and every change of state
# of every task makes an event.
@dataclass(slots=True, kw_only=True)
class LifecycleEvent:
    """A task has entered a state. Treat it as immutable; fields that do not apply are ``None``.

    Attributes:
        task_id: UUID of the task.
        func_name: registered name of the task (``name=`` or the function's ``__name__``).
        status: the state that the task has just entered.
        timestamp: when, aware, UTC.
        attempt: 0 for the first run, 1 for the first retry, ...
        retries_used: retries that have been started or scheduled so far.
        max_retries: retries that the task may use.
        duration: seconds since the first start; on terminal states of a task that started.
        attempt_duration: seconds of this attempt; on every state that ends one.
        queue_duration: seconds from creation to the first start; on the first RUNNING.
        slot_wait: seconds waited for a slot or a thread; on RUNNING.
        pool: ``async`` (a slot) or ``thread``; on RUNNING.
        error: text of the exception that ended the attempt.
        error_type: qualified class name of that exception (``module.Class``; builtins bare).
        stacktrace: its traceback, capped.
        next_delay: seconds until the next attempt; on RETRYING.
        tags: the caller's tags.
        registered: whether the function was registered with ``@task_manager.task()``.
        code_function: ``module.qualname`` of the function.
        reason: why the task was interrupted, cancelled, requeued or rescued: ``shutdown``,
            ``not_dispatched``, ``duplicate``, ``requeued``, ``rescued`` (its process has ended),
            ``lease_expired`` (its instance did not renew its lease, and may be alive), ``poison``, ``user``,
            ``lease_lost`` (another instance has taken it over), ``store_lost`` (its row was deleted) or
            ``request_cancelled`` (its request was cancelled, and no started manager owned it).
        retry_of: id of the task that this one repeats.
        trace_context: carrier that observers filled in `TaskObserver.inject` before a restart.
        span: the OpenTelemetry span that was current when the event was made: during an attempt its
            innermost span, otherwise the span of the code that caused the event.
    """

    task_id: str
    func_name: str
    status: TaskStatus
    timestamp: datetime
    attempt: int = 0
    retries_used: int = 0
    max_retries: int = 0
    duration: float | None = None
    attempt_duration: float | None = None
    queue_duration: float | None = None
    slot_wait: float | None = None
    pool: str | None = None
    error: str | None = None
    error_type: str | None = None
    stacktrace: str | None = None
    next_delay: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    registered: bool = False
    code_function: str | None = None
    reason: str | None = None
    retry_of: str | None = None
    trace_context: Mapping[str, str] | None = None
    span: SpanIds | None = field(default_factory=current_span_ids)


@dataclass(slots=True, kw_only=True)
class LogEvent:
    """One `task_log` line. Treat it as immutable.

    Attributes:
        task_id: UUID of the task that logged.
        func_name: registered name of the task.
        message: the text, as given.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        timestamp: when, aware, UTC.
        attempt: 0 for the first run, 1 for the first retry, ...
        tags: the caller's tags.
        extra: the further keyword arguments of `task_log`.
        span: the OpenTelemetry span that was current where the line was logged.
    """

    task_id: str
    func_name: str
    message: str
    level: Level
    timestamp: datetime
    attempt: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    span: SpanIds | None = field(default_factory=current_span_ids)


@dataclass(slots=True, kw_only=True)
class BackendEvent:
    """One operation on the snapshot backend has ended. Treat it as immutable.

    Attributes:
        backend: kind of the backend: ``sqlite``, ``postgres``, ``redis`` ...
        operation: the method of `SnapshotBackend`, or ``flush`` (saving all changed records).
        seconds: how long it took.
        records: number of records of a flush.
        error: why it failed; ``None`` if it did not.
    """

    backend: str
    operation: str
    seconds: float
    records: int | None = None
    error: str | None = None
