"""Converts records to rows and back; every backend stores these rows.

Fields that backends filter, sort or compare by are columns. All other fields are in two JSON objects that no
backend reads: ``body``, and ``details``, which a list does not need. A new field of a record is named here,
and nowhere else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from taskflow.core.exceptions import BackendFormatError
from taskflow.core.models import ERROR_LISTED, TERMINAL, FailedAttempt, TaskRecord, TaskStatus
from taskflow.core.query import Cursor, labels, microseconds, moment, search_text

__all__ = ["LEFT_OUT", "RELEASED", "TaskRow", "listed", "to_record", "to_row"]

RELEASED: Final = ""
"""The ``owner`` of an unfinished row that was handed over: any instance may claim it."""

LEFT_OUT: Final = ("payload", "details")
"""Columns that a list does not need, and that can be large."""

KEY_HOLDERS = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.SUCCESS})
"""The states in which a task holds its idempotency key."""

PLAIN = (
    "attempt", "retries_used", "max_retries", "error", "error_type", "stacktrace", "logs", "tags",
    "idempotency_key", "retry_of", "reason", "registered", "code_function", "trace_context",
    "duplicate_of", "rescues", "left_by", "options",
)  # fmt: skip
"""Fields whose values are JSON already. A field that has its default, as most do, is left out."""

DETAILS = ("stacktrace", "logs")
"""Those of them that a list does not need."""

CUT = "cut"
"""In a body: whether there are details that belong to it. An earlier version writes whole bodies, and leaves
details as they were."""

MOMENTS = ("start_time", "attempt_started", "next_attempt_at")

_plain, _moments = attrgetter(*PLAIN), attrgetter(*MOMENTS)

DEFAULTS = _plain(TaskRecord("", ""))


@dataclass(slots=True, kw_only=True)
class TaskRow:
    """A record as it is stored.

    Attributes:
        task_id: the primary key.
        func_name: registered name of the function.
        status: state of the task.
        created, ended: when it was enqueued and when it ended; microseconds since 1970, UTC.
        duration: seconds from the first start to the end.
        owner: lease token of the instance that has the task; `RELEASED` if any instance may claim it;
            ``None`` once it has ended.
        durable: whether it was written ahead; then only `SnapshotBackend.commit` changes it.
        held_key: its idempotency key, as long as no other task may have the same; unique among the
            durable rows of its function.
        labels: its tags, each as ``key=value``, in order.
        search: text that `TaskQuery.q` is searched in, in lower case.
        encrypted: whether ``payload`` is a Fernet token.
        payload: the encoded arguments; ``None`` if they were not stored. Never changes.
        body: JSON text of all other fields, ASCII only.
        details: JSON text of those that a list does not need; ``None`` if there are none, and in a list.
    """

    task_id: str
    func_name: str
    status: TaskStatus
    created: int
    ended: int | None
    duration: float | None
    owner: str | None
    durable: bool
    held_key: str | None
    labels: tuple[str, ...]
    search: str
    encrypted: bool
    payload: bytes | None
    body: str
    details: str | None = None

    @property
    def cursor(self) -> Cursor:
        """Its place in the listing."""
        return Cursor(self.created, self.task_id)


def listed(row: TaskRow) -> TaskRow:
    """A row as a list has it: without what `LEFT_OUT` names."""
    return replace(row, payload=None, details=None)


def to_row(record: TaskRecord, owner: str | None) -> TaskRow:
    """The row of a record, owned by the lease token ``owner``; a finished one has no owner."""
    # Read first: a thread that changes the record sets the status last.
    status = record.status
    plain = zip(PLAIN, _plain(record), DEFAULTS, strict=True)
    body = {name: value for name, value, default in plain if value != default}
    for name, value in zip(MOMENTS, _moments(record), strict=True):
        if value is not None:
            body[name] = microseconds(value)
    if record.failed_attempts:
        body["failed_attempts"] = [_plain_attempt(attempt) for attempt in record.failed_attempts]
    details = _cut(body)
    encoded = record.payload is not None or record.encrypted_payload is not None
    if not record.arguments_kept or (not encoded and (record.args or record.kwargs)):
        body["arguments_kept"] = False
    holds = record.durable and status in KEY_HOLDERS
    return TaskRow(
        task_id=record.task_id,
        func_name=record.func_name,
        status=status,
        created=microseconds(record.created_at),
        ended=None if record.end_time is None else microseconds(record.end_time),
        duration=record.duration,
        owner=None if status in TERMINAL else owner,
        durable=record.durable,
        held_key=record.idempotency_key if holds else None,
        labels=labels(record),
        search=search_text(record),
        encrypted=record.encrypted_payload is not None,
        payload=record.payload if record.encrypted_payload is None else record.encrypted_payload,
        body=_json(body),
        details=_json(details) if details else None,
    )


def _cut(body: dict[str, Any]) -> dict[str, Any]:
    """Take from a body what a list does not need, and return it."""
    details = {name: body.pop(name) for name in DETAILS if name in body}
    if len(body.get("error") or "") > ERROR_LISTED:
        details["error"], body["error"] = body["error"], body["error"][:ERROR_LISTED]
    if len(body.get("failed_attempts", ())) > 1:
        details["failed_attempts"] = body["failed_attempts"]
        body["failed_attempts"] = body["failed_attempts"][-1:]
    if details:
        body[CUT] = True
    return details


def _json(body: dict[str, Any]) -> str:
    """JSON, ASCII only. ``to_json`` is three times as fast, and most bodies are ASCII anyway."""
    try:
        text = to_json(body)
    except PydanticSerializationError:  # a lone surrogate
        return json.dumps(body)
    return text.decode() if text.isascii() else json.dumps(body)


def to_record(row: TaskRow) -> TaskRecord:
    """The record of a row. Its arguments stay encoded.

    One that was made from a row of a list lacks what `listed` leaves out.

    Raises:
        BackendFormatError: the row's body is not what `to_row` writes.
    """
    try:
        body = json.loads(row.body)
        if row.details is not None and body.get(CUT):
            body |= json.loads(row.details)
        fields = {name: body[name] for name in (*PLAIN, "arguments_kept") if name in body}
        fields |= {name: moment(body[name]) for name in MOMENTS if name in body}
        attempts = [_attempt(attempt) for attempt in body.get("failed_attempts", ())]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BackendFormatError("row", f"the body of task {row.task_id} is damaged: {error!r}") from error
    return TaskRecord(
        row.task_id,
        row.func_name,
        row.status,
        created_at=moment(row.created),
        end_time=_moment(row.ended),
        elapsed=row.duration,
        durable=row.durable,
        encrypted_payload=row.payload if row.encrypted else None,
        payload=None if row.encrypted else row.payload,
        failed_attempts=attempts or None,
        **fields,
    )


def _moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _plain_attempt(attempt: FailedAttempt) -> dict[str, Any]:
    return asdict(attempt) | {
        "started_at": microseconds(attempt.started_at),
        "ended_at": microseconds(attempt.ended_at),
    }


def _attempt(plain: dict[str, Any]) -> FailedAttempt:
    moments = {name: moment(plain[name]) for name in ("started_at", "ended_at")}
    return FailedAttempt(**(plain | moments))
