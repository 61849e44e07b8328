"""The kinds of tasks that the application has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Temper:
    """How a kind of task behaves.

    Attributes:
        seconds: how long an attempt takes.
        gated: whether it waits for the file ``gate`` instead.
        threaded: whether it is a sync function.
        again: whether it may run again after it was killed in its middle.
        retries: further attempts after one that failed.
        failures: how many attempts fail.
    """

    seconds: float = 0.0
    gated: bool = False
    threaded: bool = False
    again: bool = False
    retries: int = 0
    failures: int = 0

    @property
    def doomed(self) -> bool:
        """Whether it fails in the end."""
        return self.failures > self.retries


ORDINARY = {
    "quick": Temper(),
    "slow": Temper(seconds=0.3),
    "slow-again": Temper(seconds=0.3, again=True),
    "threaded": Temper(seconds=0.1, threaded=True),
    "threaded-again": Temper(seconds=0.1, threaded=True, again=True),
    "retrying": Temper(retries=2, failures=2),
    "retrying-again": Temper(seconds=0.1, again=True, retries=2, failures=1),
    "doomed": Temper(retries=1, failures=2),
    # Longer than its process lives, as a rule.
    "endless": Temper(seconds=1.5, again=True),
}
"""What clients order."""

TEMPERS = ORDINARY | {"gated": Temper(gated=True), "gated-again": Temper(gated=True, again=True)}
