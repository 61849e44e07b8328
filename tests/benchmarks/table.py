"""What every benchmark shares: side-by-side rounds, medians, and one way to print them."""

from __future__ import annotations

import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WORKSHOP = Path(__file__).parents[2] / ".bench"
"""Where benchmarks keep what they make; git ignores it."""


@dataclass(frozen=True)
class Rates:
    """Tasks per second of several systems, measured in turn over several rounds.

    Attributes:
        rounds: for each system, its rate in each round.
    """

    rounds: Mapping[str, Sequence[float]]

    def rate(self, system: str) -> float:
        """Median tasks per second."""
        return statistics.median(self.rounds[system])

    def ratio(self, system: str, base: str) -> float:
        """Median over the rounds of this system's rate as a multiple of ``base``'s in the same round.

        Both were measured within the same second, so that a machine that others slow down meanwhile
        slows both.
        """
        pairs = zip(self.rounds[system], self.rounds[base], strict=True)
        return statistics.median(one / other for one, other in pairs)


def measure(systems: Mapping[str, Callable[[], int]], rounds: int) -> Rates:
    """Run every system once a round, in turn, after a round that does not count.

    Args:
        systems: name → a call that does its work and returns how many tasks that was.
        rounds: how often.
    """
    results: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(rounds + 1):
        for name, work in systems.items():
            gc.collect()
            start = time.perf_counter()
            tasks = work()
            seconds = time.perf_counter() - start
            if number:
                results[name].append(tasks / seconds)
    return Rates(results)


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'─' * len(text)}")


def machine() -> str:
    """What this runs on, in a line."""
    cores = f"{os.cpu_count()} cores{_processor()}"
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {cores}"


def _processor() -> str:
    """Its model, where the system tells."""
    information = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", information.read_text() if information.exists() else "", re.M)
    return f" ({found[1]})" if found else ""


def target(reached: float, wanted: float) -> str:
    """A ratio against its target, for a reader to judge."""
    return f"{reached:.2f} × (target ≥ {wanted:g} ×)"
