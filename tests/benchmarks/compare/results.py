"""What a comparison found, in memory and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Comparison", "Results"]


@dataclass
class Results:
    """Everything of one system, round by round.

    Attributes:
        plain, observed: what `program.throughput` found.
        memory: what `program.memory` found.
        requests: requests per second.
        latencies: median and 99th percentile, in milliseconds.
    """

    plain: list[dict[str, Any]] = field(default_factory=list)
    observed: list[dict[str, Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    requests: list[float] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Tasks per second with nothing observed."""
        return [found["tasks"] / found["seconds"] for found in self.plain]

    @property
    def observed_rates(self) -> list[float]:
        """Tasks per second with everything observed."""
        return [found["tasks"] / found["seconds"] for found in self.observed]

    @property
    def bytes_kept(self) -> float:
        """Memory that a finished task keeps, in bytes."""
        return float(self.memory["bytes"] / self.memory["tasks"])

    @property
    def p50(self) -> float:
        """Median latency, in milliseconds."""
        return median(p50 for p50, _ in self.latencies)

    @property
    def p99(self) -> float:
        """99th percentile of the latency, in milliseconds."""
        return median(p99 for _, p99 in self.latencies)


@dataclass(frozen=True)
class Comparison:
    """All systems, and where they were compared.

    Attributes:
        started: when, in ISO 8601.
        machine: what it ran on.
        versions: of the libraries that all of them use.
        results: by the name that the table gives a system.
    """

    started: str
    machine: str
    versions: Mapping[str, str]
    results: Mapping[str, Results]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        results = {name: Results(**found) for name, found in content.pop("results").items()}
        return cls(**content, results=results)
