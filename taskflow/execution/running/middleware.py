"""A chain of middleware around the function of every attempt.

::

    [first, second]  →  first( second( the function ) )

A middleware may measure, wrap, replace arguments, raise, or return something else. It runs inside the
context of the attempt: `get_task_context` and `task_log` work, and what it sets in a context variable
is seen by the function. What it raises fails the attempt.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

from taskflow.core.exceptions import ConfigurationError
from taskflow.core.options import TaskOptions

__all__ = ["Middleware", "Proceed", "ProceedSync", "TaskCall", "TaskMiddleware"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCall:
    """The call that an attempt is about to make.

    Attributes:
        func: the task function.
        args, kwargs: what it is called with.
        task_id: UUID of the task.
        func_name: its registered name.
        attempt: 0 for the first run, 1 for the first retry, ...
        tags: the caller's tags.
        options: how the task is executed.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    task_id: str
    func_name: str
    attempt: int
    tags: Mapping[str, str] = field(default_factory=dict)
    options: TaskOptions

    def with_arguments(self, *args: Any, **kwargs: Any) -> Self:
        """The same call with other arguments."""
        return replace(self, args=args, kwargs=kwargs)


Proceed: TypeAlias = Callable[[TaskCall], Awaitable[object]]
"""Calls what comes next: the following middleware, or the function. It may be called more than once."""

ProceedSync: TypeAlias = Callable[[TaskCall], object]
"""The same in a thread, for a sync function."""


class TaskMiddleware:
    """Around the function of every attempt. Both methods pass the call on: override what you need."""

    async def __call__(self, call: TaskCall, proceed: Proceed) -> object:
        """Around an async function, on the event loop. Returns what the function returned."""
        return await proceed(call)

    def call_sync(self, call: TaskCall, proceed: ProceedSync) -> object:
        """Around a sync function, in its thread. Returns what the function returned."""
        return proceed(call)


Middleware: TypeAlias = TaskMiddleware | Callable[[TaskCall, Any], Any]
"""A `TaskMiddleware`; or one function with the same two parameters: an ``async def`` is put around async
functions, a ``def`` around sync ones."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The middleware of a manager, in order from the outside to the inside.

    Attributes:
        around_async, around_sync: what is around async and around sync functions.
    """

    around_async: tuple[Callable[[TaskCall, Proceed], Awaitable[object]], ...] = ()
    around_sync: tuple[Callable[[TaskCall, ProceedSync], object], ...] = ()

    @classmethod
    def of(cls, middleware: Sequence[Middleware] | None) -> Chain:
        """The chain of what a manager was given.

        Raises:
            ConfigurationError: something in it is no middleware.
        """
        if middleware is not None and not isinstance(middleware, list | tuple):
            raise ConfigurationError("middleware", middleware, "must be a list of middleware")
        chosen = middleware or ()
        for each in chosen:
            _check(each)
        return cls(
            tuple(each for each in chosen if isinstance(each, TaskMiddleware) or _is_async(each)),
            tuple(
                each.call_sync if isinstance(each, TaskMiddleware) else each
                for each in chosen
                if isinstance(each, TaskMiddleware) or not _is_async(each)
            ),
        )

    async def call(self, call: TaskCall) -> object:
        """Call an async function with its middleware around it."""
        return await _linked(self.around_async, _function)(call)

    def call_sync(self, call: TaskCall) -> object:
        """Call a sync function with its middleware around it."""
        return _linked(self.around_sync, _function)(call)


def _linked(around: Sequence[Callable[[TaskCall, Any], Any]], function: Callable[[TaskCall], Any]) -> Any:
    """One function for a whole chain: the last middleware is next to the function."""
    proceed = function
    for each in reversed(around):
        proceed = functools.partial(_step, each, proceed)
    return proceed


def _step(middleware: Callable[[TaskCall, Any], Any], proceed: Any, call: TaskCall) -> Any:
    return middleware(call, proceed)


def _function(call: TaskCall) -> Any:
    return call.func(*call.args, **call.kwargs)


def _is_async(middleware: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(middleware) or inspect.iscoroutinefunction(type(middleware).__call__)


def _check(middleware: object) -> None:
    if isinstance(middleware, type) or not callable(middleware):
        allowed = "must be a TaskMiddleware, or a function of a call and of what proceeds with it"
        raise ConfigurationError("middleware", middleware, allowed)
    try:
        inspect.signature(middleware).bind(None, None)
    except TypeError:
        allowed = "must take two arguments: the call, and what proceeds with it"
        raise ConfigurationError("middleware", middleware, allowed) from None
    except ValueError:  # it does not tell its signature
        return
