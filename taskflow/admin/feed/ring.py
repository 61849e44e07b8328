"""The latest messages of a stream, so that who was away for a moment gets what was missed."""

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
"""Messages of one chunk at most: encoding them takes some milliseconds of the event loop."""


class BehindError(Exception):
    """The position is no longer, or was never, in the ring."""


@dataclass(slots=True)
class Entry(Generic[T]):
    """A message that is encoded when somebody first wants it."""

    message: T
    encoded: bytes | None = None


@dataclass(slots=True)
class Joined:
    """Chunks up to one place, by where they start: clients that keep up all want the same one."""

    stop: int = -1
    chunks: dict[int, bytes] = field(default_factory=dict)


class Ring(Generic[T]):
    """Numbered messages, oldest out first.

    `append` may be called from any thread, everything else from the event loop's.

    Args:
        size: how many it holds.
        encode: a message and its position as bytes.

    Attributes:
        end: number of the message that comes next.
    """

    def __init__(self, size: int, encode: Callable[[T, str], bytes]) -> None:
        self.end = 0
        self._epoch = secrets.token_hex(4)  # numbers of another process or ring mean nothing here
        self._encode = encode
        self._entries: deque[Entry[T]] = deque(maxlen=size)
        self._lock = threading.Lock()
        self._joined = Joined()

    def append(self, message: T) -> None:
        """Add a message; the oldest one goes if there is no more room."""
        entry = Entry(message)
        with self._lock:
            self._entries.append(entry)
            self.end += 1

    def position(self, number: int) -> str:
        """What stands for the place before the message of that number."""
        return f"{self._epoch}-{number}"

    def resume(self, position: str) -> int:
        """The number of the first message that was missed.

        Raises:
            BehindError: the position is not one of this ring's, or is too far back.
        """
        epoch, _, number = position.partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 18):
            raise BehindError
        if not self.end - len(self._entries) <= int(number) <= self.end:
            raise BehindError
        return int(number)

    def chunk(self, start: int) -> tuple[bytes, int]:
        """The messages from number ``start`` on, at most `BURST`, and the number to go on with.

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
