"""`task_log` lines as span events and as OpenTelemetry log records."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.trace import Span

from taskflow.core.events import LogEvent
from taskflow.observers.otel.attributes import (
    LOG_SEVERITY,
    TASK_ID,
    TASK_NAME,
    Attributes,
    CleanAttributes,
    safe_text,
    safe_value,
)

# Source: https://opentelemetry.io/docs/specs/otel/logs/data-model/#severity-fields
SEVERITIES: Mapping[str, tuple[str, SeverityNumber]] = {
    "debug": ("DEBUG", SeverityNumber.DEBUG),
    "info": ("INFO", SeverityNumber.INFO),
    "warning": ("WARN", SeverityNumber.WARN),
    "error": ("ERROR", SeverityNumber.ERROR),
}

NAME_LIMIT = 256
"""Characters of a span event's name; a longer message is kept whole in the ``message`` attribute."""


def add_span_event(span: Span, event: LogEvent) -> None:
    """Put the line on ``span``, named by its message: the name is what a trace viewer shows."""
    attributes: Attributes = CleanAttributes()
    if event.extra:
        extra = _extra(event)
        attributes = (
            extra if "" in extra else CleanAttributes(extra)
        )  # the SDK warns of that key, and drops it
    attributes[LOG_SEVERITY] = event.level
    name = message = safe_text(event.message) or "log"
    if len(message) > NAME_LIMIT:
        attributes["message"] = message
        name = message[: NAME_LIMIT - 1] + "…"
    span.add_event(name, attributes)


def emit_record(logger: Logger, event: LogEvent) -> None:
    """Emit the line with the current trace context: that of the innermost span of the code that logged."""
    text, number = SEVERITIES[event.level]
    if not logger.enabled(severity_number=number):
        return
    attributes = _extra(event)
    attributes[TASK_ID] = event.task_id
    attributes[TASK_NAME] = safe_text(event.func_name)
    logger.emit(
        timestamp=round(event.timestamp.timestamp() * 1_000_000) * 1_000,
        severity_text=text,
        severity_number=number,
        body=safe_text(event.message),
        attributes=attributes,
    )


def _extra(event: LogEvent) -> Attributes:
    return {safe_text(key): safe_value(value) for key, value in event.extra.items()}
