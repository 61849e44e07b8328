"""Which functions are tasks, under which name, and how each is executed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from taskflow.codec import ArgumentCodec
from taskflow.exceptions import ConfigurationError, DuplicateTaskNameError
from taskflow.models import TaskConfig, code_function

__all__ = ["TaskEntry", "TaskRegistry"]

Function = Callable[..., Any]

DEFAULT = TaskConfig()


class TaskEntry:
    """What there is to know about one task function, worked out once.

    Attributes:
        func: the function.
        config: how it is executed.
        name: its registered name.
        is_async: whether calling it gives a coroutine (else it runs in a thread).
        registered: whether it was registered, or is only passing through.
        code_function: its ``module.qualname``.
    """

    def __init__(self, func: Function, config: TaskConfig, *, registered: bool) -> None:
        self.func = func
        self.config = config
        self.name = config.name or _default_name(func)
        self.is_async = _is_async(func)
        self.registered = registered
        self.code_function = code_function(func)

    @cached_property
    def codec(self) -> ArgumentCodec:
        """Stores and revives the function's arguments; most tasks never need it."""
        return ArgumentCodec(self.func, self.name)


class TaskRegistry:
    """Registered functions by function and by name."""

    def __init__(self) -> None:
        self._by_func: dict[Function, TaskEntry] = {}
        self._by_name: dict[str, TaskEntry] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[TaskEntry]:
        return iter(list(self._by_name.values()))

    def register(self, func: Function, config: TaskConfig) -> TaskEntry:
        """Make ``func`` a task.

        Registering a module-level function again, as a module reload does, replaces the first one.

        Raises:
            DuplicateTaskNameError: another function has the name.
            ConfigurationError: not a function that can be a task.
        """
        if not callable(func):
            raise ConfigurationError("func", func, "must be callable")
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise ConfigurationError("func", func, "a generator function does nothing when it is called")
        entry = TaskEntry(func, config, registered=True)
        other = self._by_name.get(entry.name)
        if other is not None and not _same_function(other.func, func):
            raise DuplicateTaskNameError(entry.name, _location(other.func), _location(func))
        if other is not None:
            self._by_func.pop(other.func, None)
        self._by_func[func] = self._by_name[entry.name] = entry
        return entry

    def get_config(self, func: Function) -> TaskConfig | None:
        """How a registered function is executed, or ``None``."""
        entry = self._by_func.get(func)
        return None if entry is None else entry.config

    def get_by_name(self, name: str) -> tuple[Function, TaskConfig] | None:
        """The function registered under ``name`` and its configuration, or ``None``."""
        entry = self._by_name.get(name)
        return None if entry is None else (entry.func, entry.config)

    def is_registered(self, func: Function) -> bool:
        """Whether ``func`` is a task."""
        return func in self._by_func

    def entry(self, func: Function) -> TaskEntry:
        """The entry of a registered function, or a passing one with default settings.

        Raises:
            ConfigurationError: ``func`` is not callable.
        """
        try:
            entry = self._by_func.get(func)
        except TypeError:  # unhashable: it cannot have been registered
            entry = None
        if entry is not None:
            return entry
        if not callable(func):
            raise ConfigurationError("func", func, "must be callable")
        return TaskEntry(func, DEFAULT, registered=False)


def _default_name(func: Function) -> str:
    func = _unwrap(func)
    return getattr(func, "__name__", None) or type(func).__name__


def _unwrap(func: Function) -> Function:
    while isinstance(func, functools.partial):
        func = func.func
    return func


def _is_async(func: Function) -> bool:
    func = _unwrap(func)
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


def _same_function(one: Function, other: Function) -> bool:
    if one is other:
        return True
    names = [(getattr(f, "__module__", None), getattr(f, "__qualname__", None)) for f in (one, other)]
    return names[0] == names[1] and names[0][1] is not None and "<locals>" not in names[0][1]


def _location(func: Function) -> str:
    code = getattr(inspect.unwrap(_unwrap(func)), "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno} " if code is not None else ""
    return f"{where}({code_function(func)})"
