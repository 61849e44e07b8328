"""What belongs to the states of a record: the fields that are set when it enters one."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

from taskflow.core.models import FailedAttempt, Failure, TaskRecord, TaskStatus

__all__ = ["change", "end"]

PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
SUCCESS = TaskStatus.SUCCESS

ATTEMPTS: Final = 100
"""Failed attempts that a record remembers, the latest ones."""
ATTEMPT_ERROR: Final = 1_000
"""Characters that it remembers of the error of each."""


def change(
    record: TaskRecord,
    status: TaskStatus,
    now: datetime,
    failure: Failure | None,
    next_delay: float | None,
    reason: str | None,
) -> None:
    """Set what belongs to a new state, but for the state itself; for the store, under its lock."""
    clock = record.state_clock = time.monotonic()
    if failure is not None:
        record.error, record.error_type = failure.error, failure.error_type
        record.stacktrace = failure.stacktrace
    if reason is not None:
        record.reason = reason
    if status is RUNNING:
        _start(record, now, clock)
    elif status is RETRYING:
        _remember_attempt(record, now, failure, next_delay or 0.0)
    elif status is not PENDING:
        end(record, status, now, clock)


def end(record: TaskRecord, status: TaskStatus, now: datetime, clock: float) -> None:
    """Set what belongs to the end of a task; ``clock`` is the monotonic one."""
    record.end_time = now
    if status is SUCCESS:
        record.error = record.error_type = record.stacktrace = None
        if record.args or record.kwargs or record.payload or record.encrypted_payload:
            _forget_arguments(record)
    if record.started_clock is not None:
        record.elapsed = clock - record.started_clock
    elif record.start_time is not None:  # in another process: only the wall clock knows
        record.elapsed = max(0.0, (now - record.start_time).total_seconds())


def _start(record: TaskRecord, now: datetime, clock: float) -> None:
    record.attempt = record.retries_used
    record.attempt_started, record.next_attempt_at = now, None
    if record.start_time is None:
        record.start_time, record.started_clock = now, clock
    elif record.started_clock is None:  # it started in another process
        record.started_clock = clock - (now - record.start_time).total_seconds()


def _remember_attempt(record: TaskRecord, now: datetime, failure: Failure | None, next_delay: float) -> None:
    record.retries_used += 1
    record.next_attempt_at = now + timedelta(seconds=next_delay)
    error, error_type = (failure.error, failure.error_type) if failure is not None else ("", "")
    started = record.attempt_started or now
    attempt = FailedAttempt(started, now, error[:ATTEMPT_ERROR], error_type, next_delay)
    record.failed_attempts = [*(record.failed_attempts or ()), attempt][-ATTEMPTS:]


def _forget_arguments(record: TaskRecord) -> None:
    """Let go of the arguments of a success: nothing will run it again."""
    if record.payload is not None or record.encrypted_payload is not None:
        record.payload = record.encrypted_payload = None
        record.arguments_kept = False
    if record.args or record.kwargs:
        record.args, record.kwargs = (), {}
        record.arguments_kept = False
