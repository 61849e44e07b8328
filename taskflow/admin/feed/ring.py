"""The latest messages of a stream, for clients that reconnect."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

__all__ = ["BehindError", "Ring"]

T = TypeVar("T")

BURST = 1_000
"""Messages in one chunk at most: encoding them blocks the event loop for some milliseconds."""


class BehindError(Exception):
    """The ring does not have this position, or no longer."""


@dataclass(slots=True)
class Entry(Generic[T]):
    """A message; it is encoded when it is first sent."""

    message: T
    encoded: bytes | None = None


@dataclass(slots=True)
class Joined:
    """Chunks that end at one place, by the number that they start with: most clients need the same one."""

    stop: int = -1
    chunks: dict[int, bytes] = field(default_factory=dict)


class Ring(Generic[T]):
    """Numbered messages, oldest out first.

    `append` may be called from any thread, everything else from the event loop's.

    Args:
        size: number of messages that it holds.
        encode: makes bytes of a message and its position.

    Attributes:
        end: the number that the next message will have.
    """

    def __init__(self, size: int, encode: Callable[[T, str], bytes]) -> None:
        self.end = 0
        self._epoch = secrets.token_hex(4)  # tells positions of other processes and rings
        self._encode = encode
        self._entries: deque[Entry[T]] = deque(maxlen=size)
        self._lock = threading.Lock()
        self._joined = Joined()

    def append(self, message: T) -> None:
        """Add a message; a full ring drops its oldest one."""
        entry = Entry(message)
        with self._lock:
            self._entries.append(entry)
            self.end += 1

    def position(self, number: int) -> str:
        """A text for the place before the message with this number."""
        return f"{self._epoch}-{number}"

    def resume(self, position: str) -> int:
        """The number of the first message after a position.

        Raises:
            BehindError: the position is not of this ring, or its messages are gone.
        """
        epoch, _, number = position.partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 18):
            raise BehindError
        if not self.end - len(self._entries) <= int(number) <= self.end:
            raise BehindError
        return int(number)

    def chunk(self, start: int) -> tuple[bytes, int]:
        """The messages from number ``start`` on, at most `BURST`, and the number of the message after them.

        Raises:
            BehindError: that message is gone.
        """
        with self._lock:
            first = self.end - len(self._entries)
            stop = min(self.end, start + BURST)
            if start < first:
                raise BehindError
            if self._joined.stop != stop:
                self._joined = Joined(stop)
            if start in self._joined.chunks:
                return self._joined.chunks[start], stop
            entries = list(islice(self._entries, start - first, stop - first))
        chunk = b"".join(self._encoded(entry, start + n + 1) for n, entry in enumerate(entries))
        self._joined.chunks[start] = chunk
        return chunk, stop

    def _encoded(self, entry: Entry[T], number: int) -> bytes:
        if entry.encoded is None:
            entry.encoded = self._encode(entry.message, self.position(number))
        return entry.encoded
