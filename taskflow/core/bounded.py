"""Names from input that nobody bounds: the first hundred as they are, all others as ``other``."""

from __future__ import annotations

import threading
from typing import Final

__all__ = ["NAME_LIMIT", "OTHER", "BoundedNames"]

NAME_LIMIT: Final = 100
"""Distinct names that are told apart."""

OTHER: Final = "other"
"""Stands for every name past the limit."""


class BoundedNames:
    """Lets a limited number of distinct names through, so that what is kept for each stays bounded.

    Thread-safe.

    Args:
        limit: distinct names that are let through; exempt ones do not count.
    """

    def __init__(self, limit: int = NAME_LIMIT) -> None:
        self._room = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def value(self, name: str, *, exempt: bool = False) -> str:
        """``name``, or ``other`` when it is new and the limit is reached. An exempt name always passes."""
        if name in self._known:
            return name
        with self._lock:
            return self._admit(name, exempt)

    def known(self) -> list[str]:
        """Every name given out so far, sorted; ``other`` is included once it was given out."""
        with self._lock:
            return sorted(self._known)

    def _admit(self, name: str, exempt: bool) -> str:
        if name not in self._known and not exempt:
            if self._room == 0:
                name = OTHER
            else:
                self._room -= 1
        self._known.add(name)
        return name
