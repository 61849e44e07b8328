"""Pauses between tries that grow, so that what is down is not asked again and again."""

from __future__ import annotations

__all__ = ["Backoff"]


class Backoff:
    """The pauses of one loop that tries again: each twice as long as the one before.

    Args:
        first: seconds of the first pause.
        longest: seconds that no pause exceeds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = min(first, longest)
        self._longest = longest
        self._pause = self._first

    def next(self) -> float:
        """Seconds to wait before the next try."""
        pause = self._pause
        self._pause = min(2 * pause, self._longest)
        return pause

    def reset(self) -> None:
        """Begin again with the first pause: a try has succeeded."""
        self._pause = self._first
