"""Which functions are tasks, under which name, and how each is executed.

A registered function keeps its settings however it is reached. What only binds some of its arguments, a
bound method or a `functools.partial`, is the function itself with more arguments, so that a restart, which
finds it by its name, runs the same. What cannot be that is refused: a decorator above
``@task_manager.task()`` makes another function, and a function of another manager is not this one's.
"""

from __future__ import annotations

import functools
import gc
import inspect
import weakref
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property, partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from taskflow.core.exceptions import ConfigurationError, DuplicateTaskNameError
from taskflow.core.names import class_name, code_function, text_attribute, unwrapped
from taskflow.core.options import DEFAULTS, TaskConfig, TaskOptions, Where

if TYPE_CHECKING:
    from taskflow.arguments.codec import ArgumentCodec

__all__ = ["TaskEntry", "TaskRegistry"]

Function: TypeAlias = Callable[..., Any]
Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

LONGEST_CHAIN: Final = 50
"""Wrappers that are looked through: a proxy may answer to ``__wrapped__`` for ever."""

PLACEHOLDER: Final = getattr(functools, "Placeholder", object())
"""What stands in a `functools.partial` for an argument that comes later (Python 3.14)."""

_registries: weakref.WeakKeyDictionary[Function, weakref.WeakSet[TaskRegistry]] = weakref.WeakKeyDictionary()
"""Who may have registered a function, so that another manager can tell. They are asked: of a bound method
this knows the function alone.
"""


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
        if isinstance(func, classmethod):
            allowed = "is a class method: write @task_manager.task() below @classmethod, or use @staticmethod"
            raise ConfigurationError("func", func, allowed)
        if not callable(func):
            raise ConfigurationError("func", func, "must be callable")
        if _is(func, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
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
        from taskflow.arguments.codec import ArgumentCodec

        return ArgumentCodec(self.func, self.name)


class TaskRegistry:
    """Registered functions by function and by name.

    Attributes:
        in_use: whether another registry refuses the functions of this one; not once its manager is shut
            down, which some cache may keep alive for ever.
    """

    def __init__(self) -> None:
        self.in_use = True
        self._by_func: dict[Function, TaskEntry] = {}
        self._by_name: dict[str, TaskEntry] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[TaskEntry]:
        return iter(list(self._by_name.values()))

    def register(self, func: Function, config: TaskConfig | TaskOptions) -> TaskEntry:
        """Make ``func`` a task.

        Registering a module-level function again, as a module reload does, replaces the first one. Of a
        static method it is the function: that is what its class gives when it is asked.

        Raises:
            DuplicateTaskNameError: another function has the name.
            ConfigurationError: not a function that can be a task.
        """
        if isinstance(func, staticmethod):
            func = func.__func__
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
        _note(func, self)
        return entry

    def get_config(self, func: Function) -> TaskConfig | None:
        """How a registered function is executed, or ``None``."""
        entry = self._entry(func)
        return None if entry is None else TaskConfig.of(entry.options)

    def get_by_name(self, name: str) -> tuple[Function, TaskConfig] | None:
        """The function registered under ``name`` and its configuration, or ``None``."""
        entry = self.named(name)
        return None if entry is None else (entry.func, TaskConfig.of(entry.options))

    def named(self, name: str) -> TaskEntry | None:
        """The entry registered under ``name``, or ``None``."""
        return self._by_name.get(name)

    def is_registered(self, func: Function) -> bool:
        """Whether ``func`` is a task."""
        return self._entry(func) is not None

    def resolve(
        self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[TaskEntry, Call]:
        """What a call of ``func`` runs: the entry of a registered function, or a passing one with default
        settings; and the arguments, with those that a `functools.partial` or a bound method adds to them.

        Raises:
            ConfigurationError: ``func`` is not callable; or a decorator has made it of a registered
                function; or it is registered with another manager.
        """
        entry = self._entry(func)
        if entry is not None:
            return entry, (args, kwargs)
        call, places = (args, kwargs), [func]
        while (step := _unbound(places[-1], *call)) is not None:
            place, call = step
            entry = self._entry(place)
            if entry is not None:
                return entry, call
            places.append(place)
        self._refuse_another(places)
        return TaskEntry(func, DEFAULTS, registered=False), (args, kwargs)

    def _entry(self, func: Function) -> TaskEntry | None:
        try:
            entry = self._by_func.get(func)
        except TypeError:  # unhashable: it cannot have been registered
            return None
        # A proxy around a function may be equal to it, and does something else.
        return entry if entry is not None and type(entry.func) is type(func) else None

    def _refuse_another(self, places: list[Function]) -> None:
        """Refuse what has to do with a registered function, and would run without its settings.

        Args:
            places: what was added, and what it stands for, innermost last.
        """
        for func in places:
            if _is_elsewhere(func):
                where = f"is the task {_location(func)} of another TaskManager"
                _refuse(places[0], f"{where}: add it there, or register it with this one as well")
        for func in _wrapped(places[-1]):
            if self._entry(func) is not None or _is_elsewhere(func):
                where = f"is made by a decorator of the task {_location(func)}, and has not its settings"
                _refuse(places[0], f"{where}: write @task_manager.task() above the other decorators")


def _refuse(func: Function, allowed: str) -> NoReturn:
    # By its name: a bound method would show its object, and that perhaps a secret.
    raise ConfigurationError("func", code_function(func), allowed)


def _unbound(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Function, Call] | None:
    """One step to what a callable stands for that only adds arguments; ``None`` if it is not of that kind."""
    if isinstance(func, partial) and type(func).__call__ is partial.__call__:
        return func.func, (_filled(func.args, args), {**func.keywords, **kwargs})
    if isinstance(func, MethodType):
        return func.__func__, ((func.__self__, *args), kwargs)
    return None


def _filled(bound: tuple[Any, ...], args: tuple[Any, ...]) -> tuple[Any, ...]:
    later = iter(args)
    filled = [next(later, PLACEHOLDER) if each is PLACEHOLDER else each for each in bound]
    return (*filled, *later)


def _wrapped(func: Function) -> Iterator[Function]:
    """What decorators have made a function of, as far as `functools.wraps` and the like say so."""
    for _ in range(LONGEST_CHAIN):
        try:
            inner = getattr(func, "__wrapped__", None)
        except Exception:  # a proxy may raise whatever it likes
            return
        if inner is None:
            return
        func = inner
        yield func


def _note(func: Function, registry: TaskRegistry) -> None:
    try:
        _registries.setdefault(_plain(func), weakref.WeakSet()).add(registry)
    except TypeError:  # an object that cannot be referred to weakly is not known elsewhere
        return


def _is_elsewhere(func: Function) -> bool:
    """Whether a manager that is still in use has registered the function."""
    if not _is_noted(func):
        return False
    gc.collect()  # managers are parts of circles: one that nobody has any more must not count
    return _is_noted(func)


def _is_noted(func: Function) -> bool:
    try:
        registries = list(_registries.get(_plain(func), ()))
    except TypeError:
        return False
    return any(registry.in_use and registry.is_registered(func) for registry in registries)


def _plain(func: Function) -> Function:
    """What a note is kept of: a bound method is made anew each time that it is asked for."""
    return func.__func__ if isinstance(func, MethodType) else func


def _default_name(func: Function) -> str:
    func = unwrapped(func)
    return text_attribute(func, "__name__") or class_name(type(func))


def _is_async(func: Function) -> bool:
    func = unwrapped(func)
    return _is(func, inspect.iscoroutinefunction) or _is(type(func).__call__, inspect.iscoroutinefunction)


def _is(func: Function, *kinds: Callable[[Any], bool]) -> bool:
    try:
        return any(kind(func) for kind in kinds)
    except Exception:  # whatever a proxy raises when it is asked for its code: then it has none
        return False


def _same_function(one: Function, other: Function) -> bool:
    """Whether the second is the first, perhaps after a reload of its module."""
    if one is other:
        return True
    if not isinstance(one, FunctionType) or not isinstance(other, FunctionType):
        return False
    unique = "<" not in one.__qualname__  # neither <locals> nor <lambda>
    return unique and (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _location(func: Function) -> str:
    func = unwrapped(func)
    code = getattr(func if isinstance(func, MethodType) else [func, *_wrapped(func)][-1], "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno} " if inspect.iscode(code) else ""
    return f"{where}({code_function(func)})"
