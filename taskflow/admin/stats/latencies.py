"""Durations in bounded memory, and their percentiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

__all__ = ["QUANTILES", "Latencies"]

STEPS = 16
"""Classes between a duration and its double: a percentile is the middle of its class, 2.2 % off at most."""
SHORTEST = 1e-5
"""Seconds; all that is shorter belongs to the first class."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Latencies:
    """Counts durations by classes on a logarithmic scale.

    Attributes:
        counts: durations in each class; a class is `STEPS` times the base-2 logarithm of the seconds.
    """

    def __init__(self, parts: Iterable[Latencies] = ()) -> None:
        self.counts: Counter[int] = Counter()
        for part in parts:
            self.counts.update(part.counts)

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[round(math.log2(max(seconds, SHORTEST)) * STEPS)] += 1

    def quantile(self, share: float) -> float | None:
        """The seconds that a share (0 to 1) of the durations did not exceed; ``None`` without durations."""
        rank = math.ceil(share * self.counts.total())
        for latency_class in sorted(self.counts):
            rank -= self.counts[latency_class]
            if rank <= 0:
                return float(2.0 ** (latency_class / STEPS))
        return None

    def percentiles(self) -> dict[str, float | None]:
        """``p50``, ``p95`` and ``p99``."""
        return {name: self.quantile(share) for name, share in QUANTILES.items()}
