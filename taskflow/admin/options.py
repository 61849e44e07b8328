"""Checks of what `TaskAdmin` is given; each error names the parameter, the value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import Scope

from taskflow.core.exceptions import ConfigurationError

__all__ = ["TRACE_ID", "check_instance", "check_path", "check_trace_url", "refuse_taken"]

T = TypeVar("T")

TRACE_ID = "{trace_id}"
"""Stands for the id of the trace in ``trace_url``."""

SEGMENT = r"[A-Za-z0-9._~-]+"
PATH = re.compile(rf"(?:/{SEGMENT})+")


def check_path(parameter: str, value: str) -> str:
    """Return ``value`` if it is a path of plain segments: ``/tasks``, ``/internal/tasks``.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(value, str) or not PATH.fullmatch(value) or {".", ".."} & set(value.split("/")):
        allowed = "must start with a slash, not end with one, and be made of letters, digits and -._~"
        raise ConfigurationError(parameter, value, allowed)
    return value


def check_trace_url(value: str | None) -> str | None:
    """Return ``value`` if it is ``None``, or a web address with `TRACE_ID` in it.

    Raises:
        ConfigurationError: it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, str) or TRACE_ID not in value or not _is_web_address(value):
        allowed = f"must be a http or https address with {TRACE_ID} in it, or None"
        raise ConfigurationError("trace_url", value, allowed)
    return value


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def check_instance(parameter: str, value: T, cls: type[T]) -> T:
    """Return ``value`` if it is an instance of ``cls``.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(value, cls):
        raise ConfigurationError(parameter, value, f"must be a {cls.__name__}")
    return value


def refuse_taken(app: FastAPI, parameter: str, value: str, requests: Iterable[tuple[str, str]]) -> None:
    """Check that no route of the app answers requests that the admin is to answer.

    Args:
        app: the application.
        parameter, value: the option that chose the paths; the error names it.
        requests: methods and paths of the admin.

    Raises:
        ConfigurationError: a route of the app answers one of them already.
    """
    for method, path in requests:
        scope: Scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
        for route in app.router.routes:
            if route.matches(dict(scope))[0] is Match.FULL:
                name = getattr(route, "path", None) or type(route).__name__
                allowed = f"{method} {path} is answered by the app's route {name!r} already: choose another "
                raise ConfigurationError(
                    parameter, value, allowed + "path, or add that route after TaskAdmin"
                )
