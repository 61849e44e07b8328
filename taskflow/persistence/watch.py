"""Which leases this process itself has seen unrenewed for long enough, by its own clock."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Watch"]


class Watch:
    """Compares what the store says of the leases from look to look.

    A lease counts as silent once it was seen with the same number of beats for ``timeout`` seconds in
    which contact with the store was never broken. Whoever was cut off, or stood still, begins anew: the
    others may have been cut off as well. No clock but this process's own has a say in it, and that one
    never steps.

    Args:
        timeout: seconds.
        gap: seconds between two looks from which on contact counts as broken.
    """

    def __init__(self, timeout: float, gap: float) -> None:
        self.leases: Mapping[str, int] = {}
        self._timeout = timeout
        self._gap = gap
        self._since: dict[str, float] = {}
        self._asked = self._answered = float("-inf")

    def saw(self, leases: Mapping[str, int], asked: float, answered: float) -> None:
        """Take down a look.

        Args:
            leases: how many beats each has.
            asked, answered: between which moments that was so, on the monotonic clock.
        """
        unbroken = answered - self._answered <= self._gap
        # What the earlier look saw may be from its last moment, and what this one sees from its first.
        self._since = {
            token: self._since[token]
            if unbroken and token in self._since and self.leases.get(token) == beats
            else answered
            for token, beats in leases.items()
        }
        self.leases, self._asked, self._answered = dict(leases), asked, answered

    def lost_contact(self) -> None:
        """A look has failed: nothing that was seen before counts any more."""
        self._answered = float("-inf")
        self._since = {}

    def silent(self) -> dict[str, int]:
        """The leases that count as silent, and the beats that they have had all the time."""
        since, leases = self._since, self.leases
        return {
            token: leases[token]
            for token, moment in since.items()
            if leases.get(token) and self._asked - moment >= self._timeout
        }
