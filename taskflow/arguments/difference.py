"""Finds the first difference between two values, to check that storage does not change them.

``==`` is not strict enough: ``1 == True == 1.0``, ``nan != nan``, ``0.0 == -0.0``, it ignores ``fold`` and
exponents, and classes may define it as they like. Here types are compared first, then contents, down to
the attributes of each object.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cached_property
from inspect import getattr_static
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final
from uuid import UUID

from pydantic_core import TzInfo

__all__ = ["SCALARS", "Difference", "difference", "stood_for"]


@dataclass(slots=True)
class Difference:
    """Where two values differ.

    Attributes:
        given, revived: the two values at that place.
        path: the place, from the outermost value inwards, such as ``("[2]", ".name")``.
    """

    given: object
    revived: object
    path: tuple[str, ...] = ()


def difference(given: object, revived: object) -> Difference | None:
    """The first difference in type or content, at any depth; ``None`` if there is none.

    Fixed UTC offsets count as the same whether `datetime.timezone` or pydantic made them. A value that
    hides its contents (no attributes, not of a type known here) is the same if its ``==`` says ``True``.

    Raises:
        Exception: whatever methods of the values raise.
    """
    if given is revived:
        return None
    kind = type(revived)
    if kind is not type(given) and kind is not stood_for(type(given)):
        return Difference(given, revived)
    read = READERS.get(kind)
    if read is None:
        return _object_difference(given, revived)
    if read(given) != read(revived):
        return Difference(given, revived)
    return None if kind in SCALARS else _items_difference(given, revived)


def stood_for(kind: type) -> type:
    """The scalar class in whose place a class stands; any other class itself.

    A frozen clock of tests puts classes where ``datetime`` and ``date`` were, and has them say that those are
    their subclasses as well. An ordinary subclass says no such thing.
    """
    for base in type.mro(kind)[1:]:
        if base in SCALARS and issubclass(base, kind):
            return base
    return kind


def _object_difference(given: object, revived: object) -> Difference | None:
    state, other = _state(given), _state(revived)
    if state.keys() != other.keys():
        state, other = _essential(given, state), _essential(revived, other)
    if state.keys() != other.keys():
        return Difference(given, revived)
    read = next((READERS[base] for base in type(given).__mro__ if base in READERS), None)
    if read is None and not state and not _same_opaque(given, revived):
        return Difference(given, revived)
    if read is not None and read(given) != read(revived):
        return Difference(given, revived)
    for name, value in state.items():
        if found := difference(value, other[name]):
            return _inside(f".{name}", found)
    return _items_difference(given, revived)


def _items_difference(given: Any, revived: Any) -> Difference | None:
    """Compare what two containers of the same type and size hold."""
    if isinstance(given, set | frozenset):
        return _set_difference(given, revived)
    for (place, value), (_, other) in zip(_items(given), _items(revived), strict=True):
        if found := difference(value, other):
            return _inside(_label(given, place), found)
    return None


def _set_difference(
    given: set[Any] | frozenset[Any], revived: set[Any] | frozenset[Any]
) -> Difference | None:
    partners = {value: value for value in revived}
    for value in given:
        if value not in partners:
            return Difference(given, revived)
        if found := difference(value, partners[value]):
            return _inside("{}", found)
    return None


KEY: Final = object()
"""Marks the place of a key of a dict. The place of its value is the key itself."""


def _items(value: object) -> Iterator[tuple[object, object]]:
    """The items of a container with their places, in order."""
    if isinstance(value, dict):
        # The order matters, because a function can see it.
        for key, item in dict.items(value):
            yield KEY, key
            yield key, item
    elif isinstance(value, list | tuple | deque):
        yield from enumerate(value)


def _label(container: object, place: object) -> str:
    """A place as part of a path."""
    if place is KEY:
        return "{key}"
    # Keys may be personal data, and paths are part of messages: only identifiers are shown.
    if isinstance(container, dict) and not (isinstance(place, str) and place.isidentifier()):
        return "[...]"
    return f"[{place!r}]"


def _inside(label: str, found: Difference) -> Difference:
    found.path = (label, *found.path)
    return found


def _state(value: object) -> dict[str, Any]:
    """The attributes of an object, slots included."""
    # The default that every object has, called past overrides: (__dict__, slots) if there are slots.
    state = object.__getstate__(value)
    if isinstance(state, tuple):
        return {**(state[0] or {}), **state[1]}
    return state or {}  # type: ignore[return-value]  # declared as object


def _essential(value: object, state: dict[str, Any]) -> dict[str, Any]:
    """The attributes without the values of cached properties, and with the defaults of a dataclass."""
    kind = type(value)
    essential = {
        name: item
        for name, item in state.items()
        if not isinstance(getattr_static(kind, name, None), cached_property)
    }
    if is_dataclass(value):  # a default may be on the class alone
        for each in fields(value):
            if each.name not in essential and hasattr(value, each.name):
                essential[each.name] = getattr(value, each.name)
    return essential


def _same_opaque(given: object, revived: object) -> bool:
    if type(given).__eq__ is object.__eq__:
        return hasattr(given, "__dict__")  # without attributes there is nothing that could differ
    return (given == revived) is True


def _clock(value: Any) -> tuple[object, ...]:
    return value.hour, value.minute, value.second, value.microsecond, value.fold, _zone(value.tzinfo)


def _zone(zone: tzinfo | None) -> object:
    """The offset of a zone with a fixed offset and no name of its own; any other zone itself."""
    if isinstance(zone, TzInfo):
        return zone.utcoffset(None)
    if isinstance(zone, timezone):
        offset = zone.utcoffset(None)
        return offset if zone.tzname(None) == timezone(offset).tzname(None) else zone
    return zone


# By type: the content of a value, in a form that == compares correctly. Methods are called on the class,
# so that overrides in subclasses have no effect. Values of SCALARS have no further content.
SCALARS: Mapping[type, Callable[[Any], object]] = {
    bool: int.__index__,
    int: int.__index__,
    float: float.__repr__,  # tells 0.0 from -0.0, and nan is nan
    complex: complex.__repr__,
    str: str.__str__,
    bytes: bytes.__bytes__,
    bytearray: bytearray.copy,
    Decimal: Decimal.as_tuple,  # 1.0 is not 1.00
    date: date.toordinal,
    datetime: lambda value: (datetime.toordinal(value), *_clock(value)),
    time: _clock,
    timedelta: lambda value: (value.days, value.seconds, value.microseconds),
    UUID: lambda value: value.int,  # not is_safe, which only tells how it was made
    # Paths have caches in their slots: only their text counts.
    **dict.fromkeys((PurePosixPath, PureWindowsPath, PosixPath, WindowsPath), PurePath.__str__),
}

CONTAINERS: Mapping[type, Callable[[Any], object]] = {
    list: list.__len__,
    tuple: tuple.__len__,
    set: set.__len__,
    frozenset: frozenset.__len__,
    dict: dict.__len__,
    OrderedDict: dict.__len__,
    defaultdict: lambda value: (len(value), value.default_factory),
    deque: lambda value: (len(value), value.maxlen),
}

READERS: Mapping[type, Callable[[Any], object]] = {**SCALARS, **CONTAINERS}
