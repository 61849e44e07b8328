"""The names of classes and functions, as logs, metrics and traces show them, and how many they tell apart."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Final

from taskflow.core.checks import storable

__all__ = [
    "NAME_LIMIT",
    "OTHER",
    "BoundedNames",
    "class_name",
    "code_function",
    "plain_text",
    "qualified_name",
    "text_attribute",
    "unwrapped",
]


# As `type` itself knows them: a metaclass may answer anything, and a class may set anything as its module.
_NAME, _QUALNAME, _MODULE = (vars(type)[name] for name in ("__name__", "__qualname__", "__module__"))


def qualified_name(cls: type) -> str:
    """``module.Class``, builtins bare: the form of OpenTelemetry's ``error.type``. Never raises.

    Source: https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/
    """
    name = plain_text(_QUALNAME.__get__(cls)) or class_name(cls)
    try:
        module = plain_text(_MODULE.__get__(cls))
    except AttributeError:  # somebody has deleted it
        module = None
    return name if module in (None, "builtins") else f"{module}.{name}"


def class_name(cls: type) -> str:
    """The name of a class alone. Never raises."""
    return plain_text(_NAME.__get__(cls)) or "type"


def plain_text(value: object) -> str | None:
    """A name as text that every database takes; ``None`` if it is no text, or blank."""
    if not issubclass(type(value), str):
        return None
    text = storable(str.__str__(value))
    return text if text.strip() else None


def text_attribute(value: object, name: str) -> str | None:
    """An attribute that should be text, such as a function's name; ``None`` if it is not.

    A proxy of another process, a mock and the like answer with anything, or raise.
    """
    try:
        return plain_text(getattr(value, name, None))
    except Exception:  # whatever its __getattr__ raises: then it has no such name
        return None


def unwrapped(func: Callable[..., Any]) -> Callable[..., Any]:
    """What a `functools.partial` stands for; anything else itself."""
    while isinstance(func, functools.partial):
        func = func.func
    return func


def code_function(func: Callable[..., Any]) -> str:
    """``module.qualname`` of a callable: OpenTelemetry's ``code.function.name``.

    Source: https://opentelemetry.io/docs/specs/semconv/registry/attributes/code/
    """
    func = unwrapped(func)
    qualname = text_attribute(func, "__qualname__")
    if qualname is None:
        return qualified_name(type(func))
    module = text_attribute(func, "__module__") or text_attribute(type(func), "__module__")
    return qualname if module is None else f"{module}.{qualname}"


NAME_LIMIT: Final = 100
"""Distinct names that are told apart."""

OTHER: Final = "other"
"""Stands for every name past the limit."""


class BoundedNames:
    """Lets a limited number of distinct names through, so that what is kept for each stays bounded.

    Thread-safe.

    Args:
        limit: distinct names that are let through; exempt ones do not count.
    """

    def __init__(self, limit: int = NAME_LIMIT) -> None:
        self._room = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def value(self, name: str, *, exempt: bool = False) -> str:
        """``name``, or ``other`` when it is new and the limit is reached. An exempt name always passes."""
        if name in self._known:
            return name
        with self._lock:
            return self._admit(name, exempt)

    def known(self) -> list[str]:
        """Every name given out so far, sorted; ``other`` is included once it was given out."""
        with self._lock:
            return sorted(self._known)

    def _admit(self, name: str, exempt: bool) -> str:
        if name not in self._known and not exempt:
            if self._room == 0:
                name = OTHER
            else:
                self._room -= 1
        self._known.add(name)
        return name
