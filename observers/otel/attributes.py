"""How OpenTelemetry data describes a task: attribute names, and values that every exporter takes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskflow.core.events import LifecycleEvent

TASK_ID = "taskflow.task.id"
TASK_NAME = "taskflow.task.name"
TASK_ATTEMPTS = "taskflow.task.attempts"
TASK_STATUS = "taskflow.task.status"
TASK_REASON = "taskflow.task.reason"
TASK_TAG = "taskflow.task.tag."
DROPPED_LOGS = "taskflow.task.dropped_logs"
QUEUE_DURATION = "taskflow.queue_duration"
LOG_SEVERITY = "log.severity"

# Source: https://opentelemetry.io/docs/specs/semconv/registry/attributes/ (code, error, exception)
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""Version of the conventions that the names below are from."""
CODE_FUNCTION_NAME = "code.function.name"
ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"

Scalar = str | bool | int | float
Attributes = dict[str, Scalar]


class CleanAttributes(dict[str, Scalar]):
    """Attributes that a span may take unchecked: no key is empty or is on the span already, values are from
    `safe_value`.
    """


INT64 = 2**63
STACKTRACE_LIMIT = 6 * 1024
MESSAGE_LIMIT = 512
"""Characters. 512 failed spans, the SDK's batch, must fit the 4 MiB of a gRPC receiver, which refuses a
larger batch completely. The end of the traceback is kept, which has the message."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Names and attributes that all spans of one function share."""

    enqueue: str
    run: str
    task: Mapping[str, Scalar]
    code: Mapping[str, Scalar]


@functools.lru_cache(maxsize=1024)
def labels(func_name: str, code_function: str | None) -> Labels:
    """Span names and fixed attributes of a function, made once."""
    name = safe_text(func_name)
    task: Attributes = {TASK_NAME: name}
    code: Attributes = {CODE_FUNCTION_NAME: safe_text(code_function)} if code_function else {}
    return Labels(f"enqueue {name}", f"run {name}", task, {**code, **task})


def tag_attributes(tags: Mapping[str, str]) -> Attributes:
    """``taskflow.task.tag.{key}`` for each tag."""
    return {TASK_TAG + safe_text(str(key)): safe_value(value) for key, value in tags.items()}


def exception_attributes(event: LifecycleEvent) -> Attributes:
    """The attributes of an ``exception`` span event, from the texts that the event carries.

    Source: https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/
    """
    found = {
        EXCEPTION_TYPE: event.error_type and safe_text(event.error_type),
        EXCEPTION_MESSAGE: exception_message(event),
        EXCEPTION_STACKTRACE: event.stacktrace and safe_text(_tail(event.stacktrace)),
    }
    return {name: value for name, value in found.items() if value}


def exception_message(event: LifecycleEvent) -> str | None:
    """The text of the exception, cut; ``None`` if there is none."""
    if not event.error:
        return None
    return safe_text(event.error if len(event.error) <= MESSAGE_LIMIT else event.error[:MESSAGE_LIMIT] + "…")


def _tail(stacktrace: str) -> str:
    """The end of a traceback, where the failing line is."""
    if len(stacktrace) <= STACKTRACE_LIMIT:
        return stacktrace
    return "… cut\n" + stacktrace[-STACKTRACE_LIMIT:]


def safe_text(text: str) -> str:
    """``text`` with lone surrogates escaped, because protobuf refuses a whole batch with one of them."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_value(value: Any) -> Scalar:
    """``value`` if it is a scalar that OTLP can carry, otherwise its text."""
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, bool | float) or (isinstance(value, int) and -INT64 <= value < INT64):
        return value
    return safe_text(str(value))
