"""Converts records to rows and back; every backend stores these rows.

Fields that backends filter, sort or compare by are columns. All other fields are in two JSON objects that no
backend reads: ``body``, and ``details``, which a list does not need. A new field of a record is named here,
and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from taskflow.core.exceptions import BackendFormatError
from taskflow.core.models import ERROR_LISTED, TERMINAL, FailedAttempt, TaskRecord, TaskStatus
from taskflow.core.query import Cursor, labels, microseconds, moment, search_error, search_names

__all__ = ["LEFT_OUT", "RELEASED", "Rows", "TaskRow", "listed", "to_record", "to_row"]

RELEASED: Final = ""
"""The ``owner`` of an unfinished row that was handed over: any instance may claim it."""

LEFT_OUT: Final = ("payload", "details")
"""Columns that a list does not need, and that can be large."""

KEY_HOLDERS = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.SUCCESS})
"""The states in which a task holds its idempotency key."""

LASTING = (
    "max_retries", "tags", "idempotency_key", "retry_of", "registered", "code_function", "trace_context",
    "options",
)  # fmt: skip
"""Fields whose values are JSON already, and that stay as they are from the first state to the last."""

CHANGING = (
    "attempt", "retries_used", "error", "error_type", "stacktrace", "logs", "reason", "duplicate_of",
    "rescues", "left_by",
)  # fmt: skip
"""The others. A field that has its default, as most do, is left out of the row."""

PLAIN = (*LASTING, *CHANGING)

DETAILS = ("stacktrace", "logs")
"""Those of them that a list does not need."""

CUT = "cut"
"""In a body: whether there are details that belong to it. An earlier version writes whole bodies, and leaves
details as they were."""

MOMENTS = ("start_time", "attempt_started", "next_attempt_at")

_origin = attrgetter("func_name", "created_at", *LASTING)
_changing = attrgetter(*CHANGING, "failed_attempts")

_, _, *LASTING_DEFAULTS = _origin(TaskRecord("", ""))
CHANGING_DEFAULTS = _changing(TaskRecord("", ""))


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


_blank = TaskRow.__new__


class Common:
    """What the rows of a record have in common from its first state to the last.

    Attributes:
        origin: the fields of the record that it was made of.
        created, labels: as in `TaskRow`.
        names: the beginning of ``search``.
        members: the members of ``body`` that stay, as JSON without the braces around them.
    """

    __slots__ = ("created", "labels", "members", "names", "origin")

    def __init__(self, record: TaskRecord) -> None:
        _, _, *lasting = self.origin = _origin(record)
        self.created, self.labels = microseconds(record.created_at), labels(record)
        self.names = search_names(record)
        self.members = _json(_told(LASTING, lasting, LASTING_DEFAULTS))[1:-1]


class Rows:
    """Makes the rows of one record, for one state after the other; what stays is encoded once.

    Args:
        record: whose rows. A field that is given another value is found; a dict of `LASTING` that is changed
            in place is not.
    """

    __slots__ = ("_common", "_record")

    def __init__(self, record: TaskRecord) -> None:
        self._record = record
        self._common: Common | None = None

    def next(self, owner: str | None) -> TaskRow:
        """The row of the record as it is now; see `to_row`."""
        common = self._common
        if common is None or common.origin != _origin(self._record):
            common = self._common = Common(self._record)
        return _row(self._record, owner, common)


def to_row(record: TaskRecord, owner: str | None) -> TaskRow:
    """The row of a record, owned by the lease token ``owner``; a finished one has no owner."""
    return _row(record, owner, Common(record))


def _row(record: TaskRecord, owner: str | None, common: Common) -> TaskRow:
    # Field by field: the class's own __init__ takes three times as long for so many.
    row = _blank(TaskRow)
    # Read first: a thread that changes the record sets the status last.
    status = row.status = record.status
    holds = record.durable and status in KEY_HOLDERS
    row.task_id, row.func_name, row.created = record.task_id, record.func_name, common.created
    row.ended = None if record.end_time is None else microseconds(record.end_time)
    row.duration, row.durable = record.duration, record.durable
    row.owner = None if status in TERMINAL else owner
    row.held_key = record.idempotency_key if holds else None
    row.labels, row.search = common.labels, common.names + search_error(record)
    row.encrypted = record.encrypted_payload is not None
    row.payload = record.encrypted_payload if row.encrypted else record.payload
    body, details = _changed(record)
    row.body = _joined(common.members, body)
    row.details = _json(details) if details else None
    return row


def _changed(record: TaskRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of the body may change from one state to the next, and the details."""
    body, details = _times(record), {}
    changing = _changing(record)
    if changing != CHANGING_DEFAULTS:  # most tasks have nothing but the times
        body |= _told(CHANGING, changing[:-1], CHANGING_DEFAULTS[:-1])
        if record.failed_attempts:
            body["failed_attempts"] = [_plain_attempt(attempt) for attempt in record.failed_attempts]
        details = _cut(body)
    encoded = record.payload is not None or record.encrypted_payload is not None
    if not record.arguments_kept or (not encoded and (record.args or record.kwargs)):
        body["arguments_kept"] = False
    return body, details


def _told(names: Sequence[str], values: Sequence[Any], defaults: Sequence[Any]) -> dict[str, Any]:
    """The values that are not the defaults, by name."""
    told = zip(names, values, defaults, strict=True)
    return {name: value for name, value, default in told if value != default}


def _times(record: TaskRecord) -> dict[str, Any]:
    """The `MOMENTS` that have come."""
    started, attempt, due = record.start_time, record.attempt_started, record.next_attempt_at
    times = {}
    if started is not None:
        times["start_time"] = microseconds(started)
    if attempt is not None:
        times["attempt_started"] = times["start_time"] if attempt is started else microseconds(attempt)
    if due is not None:
        times["next_attempt_at"] = microseconds(due)
    return times


def _joined(members: str, body: dict[str, Any]) -> str:
    """One JSON object of members that are JSON already, and of others."""
    if not body:
        return f"{{{members}}}"
    return f"{{{members},{_json(body)[1:]}" if members else _json(body)


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
