"""Slows down who guesses passwords."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable

__all__ = ["Throttle"]

WINDOW = 60.0
"""Seconds for which a failed login counts."""
PER_KEY = 5
"""Failed logins of one name from one address within the window."""
OVERALL = 100
"""Failed logins altogether within the window: guesses may come from many addresses."""


class Throttle:
    """Counts logins until they have succeeded.

    An attempt counts from its beginning, so that many at once are not each the first.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempts: deque[tuple[float, Hashable]] = deque()

    def __len__(self) -> int:
        return len(self._attempts)

    def wait(self, key: Hashable) -> float:
        """Seconds until there may be another attempt; 0 if now, and then it counts."""
        now = self._clock()
        while self._attempts and self._attempts[0][0] <= now - WINDOW:
            self._attempts.popleft()
        own = [since for since, other in self._attempts if other == key]
        if len(own) >= PER_KEY:
            return own[0] + WINDOW - now
        if len(self._attempts) >= OVERALL:
            return self._attempts[0][0] + WINDOW - now
        self._attempts.append((now, key))
        return 0.0

    def succeeded(self, key: Hashable) -> None:
        """Forget the attempts of a key."""
        self._attempts = deque(attempt for attempt in self._attempts if attempt[1] != key)
