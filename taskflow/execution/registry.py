"""Which functions are tasks, under which name, and how each is executed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from types import FunctionType
from typing import Any

from taskflow.arguments.codec import ArgumentCodec
from taskflow.core.exceptions import ConfigurationError, DuplicateTaskNameError
from taskflow.core.names import code_function, unwrapped
from taskflow.core.options import DEFAULTS, TaskConfig, TaskOptions, Where

__all__ = ["TaskEntry", "TaskRegistry"]

Function = Callable[..., Any]


class TaskEntry:
    """What there is to know about one task function, worked out once.

    Attributes:
        func: the function.
        options: how it is executed, unless something else is said for a call.
        name: its registered name.
        is_async: whether calling it gives a coroutine (else it runs in a thread).
        registered: whether it was registered, or is only passing through.
        code_function: its ``module.qualname``.
    """

    def __init__(self, func: Function, options: TaskOptions, *, registered: bool) -> None:
        if not callable(func):
            raise ConfigurationError("func", func, "must be callable")
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise ConfigurationError("func", func, "a generator function does nothing when it is called")
        self.func = func
        self.options = options
        self.name = options.name or _default_name(func)
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

    def register(self, func: Function, config: TaskConfig | TaskOptions) -> TaskEntry:
        """Make ``func`` a task.

        Registering a module-level function again, as a module reload does, replaces the first one.

        Raises:
            DuplicateTaskNameError: another function has the name.
            ConfigurationError: not a function that can be a task.
        """
        said = config.options() if isinstance(config, TaskConfig) else config
        entry = TaskEntry(func, said.check_where(Where.DECORATOR).over(DEFAULTS), registered=True)
        if not isinstance(func, Hashable):
            raise ConfigurationError("func", func, "must be hashable")
        other = self._by_name.get(entry.name)
        if other is not None and not _same_function(other.func, func):
            raise DuplicateTaskNameError(entry.name, _location(other.func), _location(func))
        if other is not None:
            self._by_func.pop(other.func, None)
        self._by_func[func] = self._by_name[entry.name] = entry
        return entry

    def get_config(self, func: Function) -> TaskConfig | None:
        """How a registered function is executed, or ``None``."""
        return TaskConfig.of(self._by_func[func].options) if self.is_registered(func) else None

    def get_by_name(self, name: str) -> tuple[Function, TaskConfig] | None:
        """The function registered under ``name`` and its configuration, or ``None``."""
        entry = self.named(name)
        return None if entry is None else (entry.func, TaskConfig.of(entry.options))

    def named(self, name: str) -> TaskEntry | None:
        """The entry registered under ``name``, or ``None``."""
        return self._by_name.get(name)

    def is_registered(self, func: Function) -> bool:
        """Whether ``func`` is a task."""
        return isinstance(func, Hashable) and func in self._by_func

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
        return TaskEntry(func, DEFAULTS, registered=False)


def _default_name(func: Function) -> str:
    func = unwrapped(func)
    return getattr(func, "__name__", None) or type(func).__name__


def _is_async(func: Function) -> bool:
    func = unwrapped(func)
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


def _same_function(one: Function, other: Function) -> bool:
    """Whether the second is the first, perhaps after a reload of its module."""
    if one is other:
        return True
    if not isinstance(one, FunctionType) or not isinstance(other, FunctionType):
        return False
    unique = "<" not in one.__qualname__  # neither <locals> nor <lambda>
    return unique and (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _location(func: Function) -> str:
    code = getattr(inspect.unwrap(unwrapped(func)), "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno} " if code is not None else ""
    return f"{where}({code_function(func)})"
