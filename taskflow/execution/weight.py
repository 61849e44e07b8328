"""About how much memory a finished record takes, so that the history can be bounded by bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from sys import getsizeof
from types import MemberDescriptorType, MethodDescriptorType, ModuleType
from typing import Any, Final

from taskflow.core.models import TaskRecord

__all__ = ["RECORD_BYTES", "weight_of", "weight_of_value"]

RECORD_BYTES: Final = 1_000
"""A record without arguments, log lines and failures."""

ATTEMPT_BYTES: Final = 300
"""A failed attempt without its error's text."""

DEPTH: Final = 6
"""How deep containers and objects are looked into ..."""
SAMPLE: Final = 64
"""... and how many members of each; the others are taken to be like these."""

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})
HEAP_TYPE: Final = 1 << 9
"""Flag of classes that were not made in C: what a function or a frame refers to is not the task's own."""
COLLECTIONS: Final = (list, tuple, set, frozenset, deque)


def weight_of(record: TaskRecord) -> int:
    """Bytes that a record takes beyond `RECORD_BYTES`, about. Runs no code of its arguments' classes."""
    weight = _texts(record.error, record.stacktrace, record.payload, record.encrypted_payload)
    if record.args or record.kwargs:
        weight += weight_of_value(record.args) + weight_of_value(record.kwargs)
    if record.kept_lines is not None:
        weight += record.kept_lines.size
    elif record.logs:
        weight += _texts(*record.logs)
    if record.failed_attempts:
        weight += sum(ATTEMPT_BYTES + _texts(attempt.error) for attempt in record.failed_attempts)
    if record.tags or record.preview is not None:
        weight += weight_of_value((record.tags, record.preview))
    return weight


def weight_of_value(value: Any, depth: int = DEPTH) -> int:
    """Bytes that a value takes, about: of large containers by a sample. Runs no code of its class."""
    kind = type(value)
    own = _own_size(value, kind)
    if depth == 0 or kind in PLAIN or issubclass(kind, type | ModuleType):  # those are not the task's own
        return own
    if issubclass(kind, dict):
        own += _members((part for pair in dict.items(value) for part in pair), 2 * dict.__len__(value), depth)
    for collection in COLLECTIONS:
        if issubclass(kind, collection):
            own += _members(collection.__iter__(value), collection.__len__(value), depth)
    return own + sum(weight_of_value(part, depth - 1) for part in _attributes(value, kind))


def _members(members: Iterable[object], count: int, depth: int) -> int:
    # A list first: a thread that nobody waits for any more may still change the arguments.
    sample = list(islice(members, SAMPLE))
    weight = sum(weight_of_value(each, depth - 1) for each in sample)
    return weight * count // len(sample) if sample else 0


def _attributes(value: object, kind: type) -> list[object]:
    """What an object has in its ``__dict__`` and its slots."""
    parts: list[object] = []
    for base in type.mro(kind):
        if not base.__flags__ & HEAP_TYPE:
            continue
        for name, attribute in list(type.__getattribute__(base, "__dict__").items()):
            if type(attribute) is MemberDescriptorType:
                try:
                    parts.append(attribute.__get__(value))
                except AttributeError:  # not set
                    continue
            elif name == "__dict__":
                parts.append(attribute.__get__(value))
    return parts


def _own_size(value: object, kind: type) -> int:
    # One that is written in Python may take a second, or do anything.
    in_c = isinstance(type.__getattribute__(kind, "__sizeof__"), MethodDescriptorType)
    return getsizeof(value) if in_c else object.__sizeof__(value)


def _texts(*texts: str | bytes | None) -> int:
    return sum(getsizeof(text) for text in texts if text is not None)
