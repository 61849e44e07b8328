"""Rows as the text that Redis keeps and that its scripts take and give.

A row travels as JSON, in UTF-8. The payload, which may be any bytes, goes as text that stands for them
(``surrogateescape``, PEP 383): the scripts pass bytes on as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from taskflow.core.exceptions import BackendFormatError
from taskflow.core.models import TaskStatus
from taskflow.persistence.backend import FIXED
from taskflow.persistence.rows import TaskRow

__all__ = ["CHANGED", "KIND", "OTHERS", "PLACE", "as_insert", "as_json", "as_update", "read_rows"]

KIND: Final = "redis"

PLACE: Final = ("func_name", "status", "created", "ended", "duration", "owner", "durable", "held_key")
"""What the scripts go by: where a row is listed, and who may change it."""

OTHERS: Final = tuple(field.name for field in fields(TaskRow) if field.name not in ("task_id", *PLACE))
"""What they only keep."""

CHANGED: Final = tuple(name for name in OTHERS if name not in FIXED)
"""What of that a change of a row that exists writes."""

BYTES = ("utf-8", "surrogateescape")

Value: TypeAlias = str | Literal[False]


def _flag(value: bool) -> Value:
    return "1" if value else False


def _labels(values: tuple[str, ...]) -> Value:
    # No label holds a NUL: with one on either side, each can be found in the text.
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
"""How to write and to read what is not text."""

EMPTY: Final[dict[str, Any]] = {"durable": False, "labels": (), "encrypted": False}
"""What ``False`` stands for; otherwise ``None``."""

AS_IT_IS: Final = (None, str)

READ = [(name, CONVERSIONS.get(name, AS_IT_IS)[1], EMPTY.get(name)) for name in (*PLACE, *OTHERS)]


class _Fields:
    """Some fields of rows as text, in order; ``False`` for what is ``None`` or empty."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._get = attrgetter(*names)
        self._write = [CONVERSIONS.get(name, AS_IT_IS)[0] for name in names]

    def __call__(self, row: TaskRow) -> list[Value]:
        pairs = zip(self._write, self._get(row), strict=True)
        return [False if value is None else write(value) if write else value for write, value in pairs]


_place, _others, _changed = _Fields(PLACE), _Fields(OTHERS), _Fields(CHANGED)


def as_insert(row: TaskRow) -> tuple[str, list[Value], dict[str, Value]]:
    """A whole row as the scripts take it: its id, its place, and the others by name."""
    return row.task_id, _place(row), dict(zip(OTHERS, _others(row), strict=True))


def as_update(row: TaskRow) -> tuple[str, list[Value], dict[str, Value]]:
    """A row in the same way, with what may change of it."""
    return row.task_id, _place(row), dict(zip(CHANGED, _changed(row), strict=True))


def as_json(value: Any) -> bytes:
    """What a script decodes."""
    try:
        return to_json(value)
    except PydanticSerializationError:  # a payload that is not UTF-8; for all others this is faster
        return json.dumps(value, ensure_ascii=False).encode(*BYTES)


def read_rows(text: bytes) -> list[TaskRow]:
    """The rows that a script gave.

    Raises:
        BackendFormatError: a row has a value that none of ours has.
    """
    try:
        found = json.loads(text.decode(*BYTES))
        return [_row(task_id, *place, *others) for place, (task_id, *others) in found]
    except (TypeError, ValueError) as error:
        raise BackendFormatError(KIND, f"a row is damaged: {error}") from error


def _row(task_id: str, *values: Value) -> TaskRow:
    pairs = zip(READ, values, strict=True)
    read: dict[str, Any] = {
        name: empty if value is False else convert(value) for (name, convert, empty), value in pairs
    }
    return TaskRow(task_id=task_id, **read)
