"""Converts any value to one that JSON can represent, for the ``extra`` of a log line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from enum import Enum
from typing import Any

from taskflow.core.names import qualified_name

__all__ = ["MAX_DEPTH", "MAX_TEXT", "MAX_VALUES", "plain"]

MAX_DEPTH = 8
"""Containers nested deeper than this become ``…``: so does a value that contains itself."""

MAX_VALUES = 10_000
"""Most values of one line; further ones become ``…``."""

MAX_TEXT = 1_000
"""Characters of an object's text; a longer one ends in ``…``. Plain strings are never cut."""

CUT = "…"


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    r"""A copy of ``values`` that is made of JSON's own types only. Never raises, but for `KeyboardInterrupt`.

    Mappings are objects, their keys text; lists, tuples and sets are arrays. Dates and times are in
    ISO 8601, a timedelta is in seconds, an enum is its value, bytes are read as UTF-8 (``\xff`` for what
    is not), an exception is ``Type: message``; NaN and the infinities are the texts ``NaN``,
    ``Infinity`` and ``-Infinity``. Any other object is ``str(value)`` if its class
    defines that, otherwise ``<module.Class>``, so that there are no memory addresses.
    """
    return _Copy().mapping(values, MAX_DEPTH)


class _Copy:
    """One call of `plain`: counts the values so that a huge structure ends."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            return CUT
        try:
            return self._convert(value, depth)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # raised by __str__, items() or __iter__ of the value
            return f"<{_class(value)}: {_class(error)} when read>"

    def _convert(self, value: Any, depth: int) -> Any:
        if isinstance(value, Enum):
            return self.value(value.value, depth)
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, Mapping):
            return self.mapping(value, depth - 1) if depth else CUT
        if isinstance(value, list | tuple | AbstractSet):
            return self._items(value, depth - 1) if depth else CUT
        for kinds, text in _TEXTS:
            if isinstance(value, kinds):
                return text(value)
        return _object_text(value)

    def mapping(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        copy: dict[str, Any] = {}
        for key, value in list(values.items()):
            if self._left <= 0:
                copy[CUT] = CUT
                break
            copy[self._key(key)] = self.value(value, depth)
        return copy

    def _key(self, key: Any) -> str:
        return key if isinstance(key, str) else str(self.value(key, 1))

    def _items(self, values: Any, depth: int) -> list[Any]:
        copy: list[Any] = []
        for value in list(values):
            copy.append(self.value(value, depth))
            if self._left < 0:
                break
        return copy


def _object_text(value: Any) -> str:
    kind: Any = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"<{_class(value)}>"
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + CUT


def _class(value: object) -> str:
    return qualified_name(type(value))


def _integer(value: int) -> int | str:
    # Python refuses to write integers of more than 4,300 digits, about 14,000 bits.
    return int(value) if value.bit_length() < 10_000 else f"<int of {value.bit_length()} bits>"


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _exception(value: BaseException) -> str:
    return f"{_class(value)}: {value}"


def _bytes(value: bytes | bytearray) -> str:
    return value.decode("utf-8", "backslashreplace")


_TEXTS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (int, _integer),
    (float, _float),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    ((bytes, bytearray), _bytes),
    (BaseException, _exception),
)
