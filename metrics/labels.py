"""Label values that cannot explode: the first so many as they are, the rest as ``other``."""

from __future__ import annotations

import threading

__all__ = ["LABEL_LIMIT", "OTHER", "BoundedLabel"]

LABEL_LIMIT = 100
"""Distinct values that a label takes from input that nobody bounds."""

OTHER = "other"
"""Stands for every value past the limit."""


class BoundedLabel:
    """The values of one label, over every metric that has it.

    Args:
        limit: distinct values that are let through; exempt ones do not count.
    """

    def __init__(self, limit: int = LABEL_LIMIT) -> None:
        self._room = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def value(self, raw: str, *, exempt: bool = False) -> str:
        """``raw``, or ``other`` when it is new and the limit is reached. An exempt value always passes."""
        if raw in self._known:
            return raw
        with self._lock:
            return self._admit(raw, exempt)

    def known(self) -> list[str]:
        """Every value given out so far, ``other`` included once it was."""
        with self._lock:
            return sorted(self._known)

    def _admit(self, raw: str, exempt: bool) -> str:
        if raw not in self._known and not exempt:
            if self._room == 0:
                raw = OTHER
            else:
                self._room -= 1
        self._known.add(raw)
        return raw
