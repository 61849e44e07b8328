"""The nouns: states and their arrows, and the record of a task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from taskflow.core.clock import utcnow

__all__ = [
    "TERMINAL",
    "TRANSITIONS",
    "FailedAttempt",
    "Failure",
    "TaskRecord",
    "TaskStatus",
    "pending_record",
]


class TaskStatus(StrEnum):
    """The state of a task.

    ::

        PENDING → RUNNING → SUCCESS
                          → RETRYING → RUNNING → …     an attempt failed, another one follows
                          → FAILED                     the last attempt failed
        PENDING | RUNNING | RETRYING → INTERRUPTED     the process stopped before its end
        PENDING | RUNNING | RETRYING → CANCELLED
        PENDING | RETRYING → FAILED                    poison, or an operator's decision
        RUNNING | RETRYING → PENDING                   requeue, rescue
    """

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

TERMINAL = frozenset({SUCCESS, FAILED, INTERRUPTED, CANCELLED})
"""States that a task never leaves."""

TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    PENDING: frozenset({RUNNING, FAILED, INTERRUPTED, CANCELLED}),
    RUNNING: frozenset({SUCCESS, RETRYING, FAILED, INTERRUPTED, CANCELLED, PENDING}),
    RETRYING: frozenset({RUNNING, FAILED, INTERRUPTED, CANCELLED, PENDING}),
    **dict.fromkeys(TERMINAL, frozenset()),
}
"""The states that may follow each state."""


@dataclass(slots=True)
class Failure:
    """Why an attempt failed.

    Attributes:
        error: text of the exception; of a group, with those of its leaves.
        error_type: its qualified class name; of a group whose leaves are all of one class, the name of
            that, and otherwise ``ExceptionGroup[OSError, ValueError]``.
        stacktrace: its traceback, from the task function on.
    """

    error: str
    error_type: str
    stacktrace: str


ERROR_LISTED = 1_000
"""Characters of an error that a list shows."""


@dataclass(slots=True)
class FailedAttempt:
    """An attempt that failed and was followed by another one.

    Attributes:
        started_at, ended_at: when; aware, UTC.
        error, error_type: text and qualified class name of its exception.
        next_delay: seconds that the next attempt had to wait.
    """

    started_at: datetime
    ended_at: datetime
    error: str
    error_type: str
    next_delay: float


@dataclass(slots=True, eq=False)
class TaskRecord:
    """What is known of one task. Only `TaskStore` changes it.

    Attributes:
        task_id: UUID given at enqueue.
        func_name: registered name of the function.
        status: state of the task.
        args, kwargs: the arguments; empty where they are encoded, and after a success.
        created_at, start_time, end_time: enqueued, first started, ended; aware, UTC.
        retries_used: retries scheduled so far.
        max_retries: retries that it may use.
        attempt: number of the latest attempt, 0 for the first run.
        error: text of the latest exception, ``error_type`` its qualified class name and
            ``stacktrace`` its traceback; ``None`` after a success.
        logs: `task_log` lines as ``"<RFC 3339 time> <LEVEL> <message>"``: the first and the last 500, or
            32 KiB of each. Between them a line without a time tells how many were cut.
        idempotency_key: the caller's key, so that the task of this function runs only once.
        tags: the caller's tags.
        encrypted_payload: Fernet token of the encoded arguments.
        retry_of: id of the task that this one repeats.
        reason: why it was interrupted, cancelled, requeued or rescued.
        registered: whether the function was registered with ``@task_manager.task()``.
        code_function: ``module.qualname`` of the function.
        trace_context: what observers stored for use after a restart.
        durable: whether it was written ahead (``persist=True``), so that it survives a crash.
        duplicate_of: id of the task that held its idempotency key first, on another instance.
        attempt_started: when the latest attempt started.
        failed_attempts: the attempts that were followed by another one, oldest first.
        next_attempt_at: when the next attempt is due, while it is RETRYING.
        payload: the encoded arguments, if a restart may need them and they are not encrypted.
        rescues: how often another process took it over while it ran.
        left_by: ids of the managers' starts that it was taken over from, without those that came back.
        arguments_kept: whether its arguments are still known, here or encoded. Not after a success.
        options: what was said for this call alone, as JSON values; ``None`` if nothing was.
    """

    task_id: str
    func_name: str
    status: TaskStatus = TaskStatus.PENDING
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=utcnow)
    start_time: datetime | None = None
    end_time: datetime | None = None
    retries_used: int = 0
    max_retries: int = 0
    attempt: int = 0
    error: str | None = None
    error_type: str | None = None
    stacktrace: str | None = None
    logs: list[str] = field(default_factory=list)
    idempotency_key: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    encrypted_payload: bytes | None = None
    retry_of: str | None = None
    reason: str | None = None
    registered: bool = False
    code_function: str | None = None
    trace_context: dict[str, str] | None = None
    durable: bool = False
    duplicate_of: str | None = None
    attempt_started: datetime | None = None
    failed_attempts: list[FailedAttempt] | None = None
    next_attempt_at: datetime | None = None
    payload: bytes | None = field(default=None, repr=False)
    rescues: int = 0
    left_by: list[str] = field(default_factory=list, repr=False)
    arguments_kept: bool = True
    options: dict[str, Any] | None = None

    # Only for the store. Durations are measured with the monotonic clock: they are never negative, even
    # if the wall clock is set back.
    state_clock: float = field(default_factory=time.monotonic, repr=False)
    started_clock: float | None = field(default=None, repr=False)
    elapsed: float | None = field(default=None, repr=False)
    backlog: list[Any] | None = field(default=None, repr=False)
    kept_lines: Any = field(default=None, repr=False)
    weight: int = field(default=0, repr=False)
    # The arguments as short texts, for people: only where they are to be shown. Never stored.
    preview: Any = field(default=None, repr=False)

    @property
    def finished(self) -> bool:
        """Whether the task has ended."""
        return self.status in TERMINAL

    @property
    def duration(self) -> float | None:
        """Seconds from the first start to the end, retry delays included; ``None`` before the end."""
        if self.elapsed is not None:
            return self.elapsed
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    def to_dict(self, *, brief: bool = False) -> dict[str, Any]:
        """The record as JSON-safe values, times in RFC 3339. Arguments are never part of it.

        Args:
            brief: as a list shows it: without logs and traceback, with the first 1,000 characters of the
                error, and of the failed attempts the latest one.
        """
        error, attempts = self.error, self.failed_attempts or []
        if brief:
            error, attempts = error and error[:ERROR_LISTED], attempts[-1:]
        return {
            "task_id": self.task_id,
            "func_name": self.func_name,
            "status": self.status.value,
            "created_at": _isoformat(self.created_at),
            "start_time": _isoformat(self.start_time),
            "end_time": _isoformat(self.end_time),
            "duration": self.duration,
            "retries_used": self.retries_used,
            "max_retries": self.max_retries,
            "attempt": self.attempt,
            "error": error,
            "error_type": self.error_type,
            "stacktrace": None if brief else self.stacktrace,
            "logs": [] if brief else list(self.logs),
            "idempotency_key": self.idempotency_key,
            "tags": dict(self.tags),
            "retry_of": self.retry_of,
            "reason": self.reason,
            "durable": self.durable,
            "duplicate_of": self.duplicate_of,
            "attempt_started": _isoformat(self.attempt_started),
            "failed_attempts": [_attempt_dict(attempt) for attempt in attempts],
            "next_attempt_at": _isoformat(self.next_attempt_at),
        }


_blank = TaskRecord.__new__


def pending_record(
    task_id: str,
    func_name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    max_retries: int,
    durable: bool,
    registered: bool,
    code_function: str,
    retry_of: str | None,
) -> TaskRecord:
    """A new record, by fewer steps than the constructor takes: one is made for every task.

    A test compares all its fields with those of a record that the constructor made.
    """
    record = _blank(TaskRecord)
    record.task_id, record.func_name, record.args, record.kwargs = task_id, func_name, args, kwargs
    record.max_retries, record.durable, record.registered = max_retries, durable, registered
    record.code_function, record.retry_of = code_function, retry_of
    record.status, record.arguments_kept = PENDING, True
    record.created_at, record.state_clock = datetime.now(UTC), time.monotonic()
    record.logs, record.tags, record.left_by = [], {}, []
    record.retries_used = record.attempt = record.rescues = record.weight = 0
    record.start_time = record.end_time = record.attempt_started = record.next_attempt_at = None
    record.error = record.error_type = record.stacktrace = record.failed_attempts = record.reason = None
    record.idempotency_key = record.payload = record.encrypted_payload = record.trace_context = None
    record.duplicate_of = record.options = record.started_clock = record.elapsed = record.backlog = None
    record.kept_lines = record.preview = None
    return record


def _attempt_dict(attempt: FailedAttempt) -> dict[str, Any]:
    return {
        "started_at": _isoformat(attempt.started_at),
        "ended_at": _isoformat(attempt.ended_at),
        "error": attempt.error,
        "error_type": attempt.error_type,
        "next_delay": attempt.next_delay,
    }


def _isoformat(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
