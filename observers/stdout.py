"""`StdoutLogger`: log lines on standard output, or on any text stream."""

from __future__ import annotations

import sys
from typing import TextIO

from taskflow.core.exceptions import ConfigurationError
from taskflow.observers.formatting import Format
from taskflow.observers.writer import LineLogger, LineWriter

__all__ = ["StdoutLogger", "StreamSink"]


class StdoutLogger(LineLogger):
    """Writes `task_log` lines, and lifecycle lines on request, to standard output.

    A slow terminal or a blocked pipe must not delay a task, so lines are written by a thread, a tenth of a
    second later: they may come after something that was printed later. ``await logger.flush()`` waits
    for them.

    Args:
        log_lifecycle: also write a line for every state that a task enters.
        min_level: the least severe `task_log` level that is written.
        format: ``text`` or ``json``, see `taskflow.observers.formatting`.
        stream: a text stream to write to instead. It is flushed after every batch, and never closed.

    Raises:
        ConfigurationError: an argument has a value that it cannot have.
    """

    def __init__(
        self,
        *,
        log_lifecycle: bool = False,
        min_level: str = "info",
        format: Format = "text",
        stream: TextIO | None = None,
    ) -> None:
        super().__init__(log_lifecycle=log_lifecycle, min_level=min_level, format=format)
        self._writer = LineWriter(StreamSink(stream), name="sys.stdout" if stream is None else repr(stream))


class StreamSink:
    """Appends lines to a text stream, by default to what `sys.stdout` is at that moment."""

    def __init__(self, stream: TextIO | None = None) -> None:
        if stream is not None and not (hasattr(stream, "write") and hasattr(stream, "flush")):
            raise ConfigurationError("stream", stream, "must be a text stream, or None for sys.stdout")
        self._stream = stream

    def append(self, lines: list[str]) -> None:
        """Write and flush the lines; exceptions of the stream are passed on."""
        stream = sys.stdout if self._stream is None else self._stream
        stream.write(_encodable("".join(lines), getattr(stream, "encoding", None)))
        stream.flush()
        lines.clear()

    def close(self) -> None:
        """Does nothing: the stream belongs to somebody else."""


def _encodable(text: str, encoding: str | None) -> str:
    r"""The text with ``\u...`` for characters that the stream's encoding does not have."""
    if encoding is None or text.isascii():
        return text
    return text.encode(encoding, "backslashreplace").decode(encoding)
