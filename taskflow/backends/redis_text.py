"""Converts rows to the text that Redis stores, and back.

Rows go to and from the scripts as JSON in UTF-8. The payload may be any bytes; those that are not UTF-8
are written with ``surrogateescape`` (PEP 383), and the scripts pass them on unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from taskflow.core.exceptions import BackendFormatError
from taskflow.core.models import TaskStatus
from taskflow.persistence.rows import LEFT_OUT, TaskRow

__all__ = [
    "KIND",
    "LISTED",
    "OTHERS",
    "PLACE",
    "as_insert",
    "as_json",
    "as_update",
    "read_rows",
]

KIND: Final = "redis"

PLACE: Final = ("func_name", "status", "created", "ended", "duration", "owner", "durable", "held_key")
"""Fields that the scripts read: they decide where a row is listed and who may change it."""

OTHERS: Final = tuple(field.name for field in fields(TaskRow) if field.name not in ("task_id", *PLACE))
"""Fields that the scripts only store."""

LISTED: Final = tuple(name for name in OTHERS if name not in LEFT_OUT)
"""What of that a list has."""

BYTES = ("utf-8", "surrogateescape")

Value: TypeAlias = str | Literal[False]


def _flag(value: bool) -> Value:
    return "1" if value else False


def _labels(values: tuple[str, ...]) -> Value:
    # Labels have no NUL. With a NUL before and after each label, a script can find it in the text.
    return "\0".join(("", *values, "")) if values else False


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("\0")[1:-1])


def _text(payload: bytes) -> str:
    return payload.decode(*BYTES)


def _payload(text: str) -> bytes:
    return text.encode(*BYTES)


CONVERSIONS: Final[dict[str, tuple[Callable[[Any], Value], Callable[[str], Any]]]] = {
    "status": (str, TaskStatus),
    "created": (str, int),
    "ended": (str, int),
    "duration": (repr, float),
    "durable": (_flag, bool),
    "labels": (_labels, _split),
    "encrypted": (_flag, bool),
    "payload": (_text, _payload),
}
"""How to write and read fields that are not text."""

EMPTY: Final[dict[str, Any]] = {"durable": False, "labels": (), "encrypted": False}
"""The value that a stored ``False`` means, by field; ``None`` for all others."""

AS_IT_IS: Final = (None, str)

READ = {name: (name, CONVERSIONS.get(name, AS_IT_IS)[1], EMPTY.get(name)) for name in (*PLACE, *OTHERS)}


# Written out: a loop over the names takes twice as long, and a row is written for every state of a task.


def _place(row: TaskRow) -> list[Value]:
    """The fields of `PLACE`, in order; ``None`` and empty values as ``False``."""
    return [
        row.func_name,
        str(row.status),  # its `value` takes three times as long
        str(row.created),
        False if row.ended is None else str(row.ended),
        False if row.duration is None else repr(row.duration),
        False if row.owner is None else row.owner,
        _flag(row.durable),
        False if row.held_key is None else row.held_key,
    ]


def as_insert(row: TaskRow) -> tuple[str, list[Value], dict[str, Value]]:
    """A whole row as an argument of the scripts: id, the fields of `PLACE`, the `OTHERS` by name."""
    fixed: dict[str, Value] = {
        "labels": _labels(row.labels),
        "encrypted": _flag(row.encrypted),
        "payload": False if row.payload is None else _text(row.payload),
    }
    return row.task_id, _place(row), fixed | _changed(row)


def as_update(row: TaskRow, owner: str, status: TaskStatus) -> tuple[Any, ...]:
    """The same without the fields that never change, and the owner and the status that are expected."""
    # An enum would take to_json longer than all the rest.
    return row.task_id, _place(row), _changed(row), (owner, str(status))


def _changed(row: TaskRow) -> dict[str, Value]:
    """Those of the `OTHERS` that a change of an existing row writes."""
    return {
        "search": row.search,
        "body": row.body,
        "details": False if row.details is None else row.details,
    }


def as_json(value: Any) -> bytes:
    """A value as JSON, for a script."""
    try:
        return to_json(value)
    except PydanticSerializationError:  # a payload that is not UTF-8; to_json is faster for all others
        return json.dumps(value, ensure_ascii=False).encode(*BYTES)


def read_rows(text: bytes, others: tuple[str, ...] = OTHERS) -> list[TaskRow]:
    """The rows in the answer of a script, which has these of the `OTHERS`.

    Raises:
        BackendFormatError: a row has a value that Taskflow does not write.
    """
    try:
        found = json.loads(text.decode(*BYTES))
        fields = [READ[name] for name in (*PLACE, *others)]
        return [_row(fields, task_id, *place, *values) for place, (task_id, *values) in found]
    except (TypeError, ValueError) as error:
        raise BackendFormatError(KIND, f"a row is damaged: {error}") from error


def _row(fields: list[Any], task_id: str, *values: Value) -> TaskRow:
    pairs = zip(fields, values, strict=True)
    read: dict[str, Any] = dict.fromkeys(LEFT_OUT) | {
        name: empty if value is False else convert(value) for (name, convert, empty), value in pairs
    }
    return TaskRow(task_id=task_id, **read)
