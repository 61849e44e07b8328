"""Describing why an attempt failed."""

from __future__ import annotations

import traceback
from types import TracebackType

from taskflow.core.models import Failure
from taskflow.core.names import qualified_name

__all__ = ["describe", "own_traceback"]

STACKTRACE_BYTES = 64 * 1024
"""Bytes that a record keeps of a traceback, and of an exception's text."""


def describe(exc: BaseException) -> Failure:
    """The text, the type and the traceback of an exception, each within its limit."""
    text = "".join(traceback.format_exception(type(exc), exc, own_traceback(exc)))
    return Failure(_capped(_text(exc)), qualified_name(type(exc)), _capped(text))


def own_traceback(exc: BaseException) -> TracebackType | None:
    """The traceback from the task function on, or from its outermost middleware: what is before is ours."""
    frame = exc.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__package__") == __package__:
        frame = frame.tb_next
    return frame


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:
        return f"<{type(exc).__name__}.__str__ raised {type(broken).__name__}>"


def _capped(text: str) -> str:
    """The text within its limit; of a long traceback the end says most, so the middle is cut."""
    octets = text.encode(errors="replace")
    if len(octets) <= STACKTRACE_BYTES:
        return text
    half = STACKTRACE_BYTES // 2
    head, tail = (part.decode(errors="ignore") for part in (octets[:half], octets[-half:]))
    return f"{head}\n… cut …\n{tail}"
