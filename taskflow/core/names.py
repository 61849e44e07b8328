"""The names of classes and functions, as logs, metrics and traces show them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["code_function", "qualified_name", "unwrapped"]


def qualified_name(cls: type) -> str:
    """``module.Class``, builtins bare: the form of OpenTelemetry's ``error.type``.

    Source: https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/
    """
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


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
    module = getattr(func, "__module__", None) or type(func).__module__
    qualname = getattr(func, "__qualname__", None) or type(func).__qualname__
    return f"{module}.{qualname}"
