r"""One event, one line: the text and JSON formats of the log observers.

Text, for people::

    [0f8fad5b] [send_email] 2026-01-01T12:00:00 sent to 3 recipients
    [0f8fad5b] [send_email] 2026-01-01T12:00:01 -- RUNNING
    [0f8fad5b] [send_email] 2026-01-01T12:00:02 -- RETRYING (attempt 1/4, retry in 2.0 s): OSError: refused

JSON, for log shippers. These keys are on every line, ``null`` where they do not apply: ``timestamp``
(RFC 3339, UTC, microseconds), ``level``, ``message``, ``task_id``, ``func_name``, ``attempt``, ``status``,
``duration`` (seconds), ``error``, ``tags``, ``extra``, ``trace_id`` and ``span_id`` (lowercase hex, the
span that was current where the event was made). Lifecycle lines add those of `OPTIONAL_KEYS` that are set.

A line is always one line. In text, control characters are written as ``\n``, ``\x1b``, ``\u2028``;
backslashes stay as they are. In JSON they are JSON escapes, so that the message reads back unchanged; only
lone surrogates, which are no characters and which many JSON readers refuse, read back as text (``\ud800``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring as quote  # the C function behind json.dumps
from operator import attrgetter
from typing import Any, Literal

from taskflow.core.clock import rfc3339, utc_second
from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.models import TaskStatus
from taskflow.core.spans import SpanIds
from taskflow.observers.plain import plain

__all__ = [
    "FORMATS",
    "OPTIONAL_KEYS",
    "Format",
    "LineFormat",
    "lifecycle_level",
]

Format = Literal["text", "json"]

DURATION_KEYS = ("next_delay", "queue_duration", "slot_wait", "attempt_duration")
TEXT_KEYS = ("error_type", "stacktrace", "reason", "retry_of")

OPTIONAL_KEYS = DURATION_KEYS + TEXT_KEYS
"""Fields of `LifecycleEvent` that a JSON line has only when they are set. Durations are in seconds."""


def lifecycle_level(status: TaskStatus) -> str:
    """The level of a lifecycle line: a state has none of its own, log shippers want one."""
    return _LIFECYCLE_LEVELS.get(status, "info")


_LIFECYCLE_LEVELS = {
    TaskStatus.FAILED: "error",
    TaskStatus.RETRYING: "warning",
    TaskStatus.INTERRUPTED: "warning",
    TaskStatus.CANCELLED: "warning",
}


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How events become lines, each with its end of line.

    Attributes:
        log, lifecycle: render an event where it is made: 1 to 3 µs. Done there, nothing of the event has
            to be kept or copied for later, which costs more: the garbage collector goes through it.
    """

    log: Callable[[LogEvent], str]
    lifecycle: Callable[[LifecycleEvent], str]


# ---- text ----


def text_log(event: LogEvent) -> str:
    """``[id] [name] time message``."""
    return _text_line(event, event.message)


def text_lifecycle(event: LifecycleEvent) -> str:
    """``[id] [name] time -- STATUS``, with what happened where a task did not simply go on."""
    return _text_line(event, f"-- {lifecycle_message(event)}")


def _text_line(event: LifecycleEvent | LogEvent, message: str) -> str:
    line = f"[{event.task_id[:8]}] [{event.func_name}] {utc_second(event.timestamp)} {message}"
    return f"{line}\n" if line.isprintable() else f"{_UNSAFE.sub(_visible, line)}\n"


def lifecycle_message(event: LifecycleEvent) -> str:
    """What happened, in words: ``RUNNING``, ``FAILED (attempt 4/4): ValueError: boom``."""
    words = event.status.upper()
    if event.status not in _LIFECYCLE_LEVELS:
        return words
    details = ", ".join(_details(event))
    return words + (f" ({details})" if details else "") + _error(event)


def _details(event: LifecycleEvent) -> list[str]:
    details = []
    if event.reason is not None:
        details.append(event.reason)
    if event.max_retries:
        details.append(f"attempt {event.attempt + 1}/{event.max_retries + 1}")
    if event.next_delay is not None:
        details.append(f"retry in {event.next_delay:.1f} s")
    return details


def _error(event: LifecycleEvent) -> str:
    return "".join(f": {part}" for part in (event.error_type, event.error) if part)


# ---- json ----


def json_log(event: LogEvent) -> str:
    """A `task_log` line as one JSON object."""
    span = event.span
    line = (
        f'{{"timestamp":"{rfc3339(event.timestamp)}","task_id":{quote(event.task_id)},'
        f'"func_name":{quote(event.func_name)},"attempt":{event.attempt},'
        f'"level":"{event.level}","message":{quote(event.message)},'
        f'"status":null,"duration":null,"error":null,'
        f'"tags":{_tags(event.tags) if event.tags else "{}"},'
        f'"extra":{_object(event.extra) if event.extra else "{}"},'
        f"{_NO_IDS if span is None else _ids(span)}}}\n"
    )
    return line if line.isascii() and _DEL not in line else _escaped(line)


def json_lifecycle(event: LifecycleEvent) -> str:
    """A state as one JSON object; ``message`` says it in the words of the text format."""
    duration, error, span = event.duration, event.error, event.span
    line = (
        f'{{"timestamp":"{rfc3339(event.timestamp)}","task_id":{quote(event.task_id)},'
        f'"func_name":{quote(event.func_name)},"attempt":{event.attempt},'
        f"{_PLAIN_STATES.get(event.status) or _json_state(event)},"
        f'"duration":{"null" if duration is None else f"{duration:.6f}"},'
        f'"error":{"null" if error is None else quote(error)},'
        f'"tags":{_tags(event.tags) if event.tags else "{}"},"extra":{{}},'
        f"{_NO_IDS if span is None else _ids(span)}{_optional(event)}}}\n"
    )
    return line if line.isascii() and _DEL not in line else _escaped(line)


def _json_state(event: LifecycleEvent) -> str:
    level, message = lifecycle_level(event.status), quote(lifecycle_message(event))
    return f'"level":"{level}","message":{message},"status":"{event.status.value}"'


# States that need no words, made once: most lines are one of these.
_PLAIN_STATES = {
    status: f'"level":"info","message":"{status.upper()}","status":"{status.value}"'
    for status in TaskStatus
    if status not in _LIFECYCLE_LEVELS
}


_texts = attrgetter(*TEXT_KEYS)


def _optional(event: LifecycleEvent) -> str:
    # The keys written out: a loop over them takes three times as long, in nearly every line.
    line = ""
    if event.next_delay is not None:
        line += f',"next_delay":{event.next_delay:.6f}'
    if event.queue_duration is not None:
        line += f',"queue_duration":{event.queue_duration:.6f}'
    if event.slot_wait is not None:
        line += f',"slot_wait":{event.slot_wait:.6f}'
    if event.attempt_duration is not None:
        line += f',"attempt_duration":{event.attempt_duration:.6f}'
    if (
        event.error_type is None
        and event.stacktrace is None
        and event.reason is None
        and event.retry_of is None
    ):
        return line
    fields = zip(TEXT_KEYS, _texts(event), strict=True)
    return line + "".join([f',"{key}":{quote(value)}' for key, value in fields if value is not None])


def _tags(tags: Mapping[str, str]) -> str:
    try:
        return "{" + ",".join([f"{quote(key)}:{quote(value)}" for key, value in tags.items()]) + "}"
    except TypeError:  # a tag that is not text
        return _object(tags)


def _object(values: Mapping[Any, Any]) -> str:
    try:
        return _encode(values)
    except KeyboardInterrupt:
        raise
    except BaseException:  # not JSON: NaN, a set, a cycle, an object; or a dict whose items() raises
        return _encode(plain(values))


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


_NO_IDS = '"trace_id":null,"span_id":null'


def _ids(span: SpanIds) -> str:
    return f'"trace_id":"{span.trace_id}","span_id":"{span.span_id}"'


# ---- one line ----

# Beyond C0, DEL and C1 (NEL among them): the line and paragraph separators, the bidirectional
# overrides that make a line read as something else, and surrogates, which UTF-8 cannot carry.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def _visible(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


_DEL = "\x7f"
"""The quoting has escaped C0, so that of the ASCII characters only this one is left to be."""


def _escaped(line: str) -> str:
    return f"{_UNSAFE.sub(_json_escape, line[:-1])}\n"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


FORMATS: Mapping[str, LineFormat] = {
    "text": LineFormat(log=text_log, lifecycle=text_lifecycle),
    "json": LineFormat(log=json_log, lifecycle=json_lifecycle),
}
"""The formats by their public names."""
