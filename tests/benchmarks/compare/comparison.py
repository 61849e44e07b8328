"""Taskflow beside bare `BackgroundTasks`, taskiq and huey in memory, and the published `fastapi-taskflow`.

No-op tasks, one a request. Every system runs in processes of its own, in turn in every round. *Observed*
is, for Taskflow, two spans a task, every metric, and a JSON line for each state and each `task_log`, of
which each task has one; for the others what one writes by hand: one span, a counter and a histogram, and
three lines of text.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.compare.environment import PEER, SHARED
from tests.benchmarks.compare.processes import answer, serving
from tests.benchmarks.http import CONNECTIONS, SECONDS, load, percentile
from tests.benchmarks.table import WORKSHOP, heading, machine, target

ROUNDS = 7
HTTP_ROUNDS = 20

NAMES = {
    "Bare": "BackgroundTasks",
    "Huey": f"huey {version('huey')}, immediate",
    "Taskiq": f"taskiq {version('taskiq')}, in memory",
    "Peer": PEER.replace("==", " "),
    "Taskflow": "Taskflow",
}


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
    def row(self) -> list[str]:
        """Its line of the table."""
        plain, observed = _rate(self.plain), _rate(self.observed)
        kept = self.memory["bytes"] / self.memory["tasks"]
        p50, p99 = (statistics.median(values) for values in zip(*self.latencies, strict=True))
        return [
            f"{plain:,.0f}", f"{1e6 / plain:.1f}", f"{kept:,.0f}",
            f"{observed:,.0f}", f"{1e6 / observed:.1f}",
            f"{statistics.median(self.requests):,.0f}", f"{p50:.1f}", f"{p99:.1f}",
        ]  # fmt: skip


COLUMNS = [
    "", "tasks/s", "µs a task", "bytes kept", "observed, tasks/s", "µs a task", "HTTP, requests/s", "p50 ms",
    "p99 ms",
]  # fmt: skip


def _rate(rounds: Sequence[dict[str, Any]]) -> float:
    return statistics.median(_rates(rounds))


def _rates(rounds: Sequence[dict[str, Any]]) -> list[float]:
    return [found["tasks"] / found["seconds"] for found in rounds]


# Measuring


def measure() -> dict[str, Results]:
    """Every system, in turn."""
    results = {system: Results() for system in NAMES}
    for system, found in results.items():
        found.memory = answer("memory", system)
    for _ in range(ROUNDS):
        for system, found in results.items():
            found.plain.append(answer("throughput", system))
            found.observed.append(answer("throughput", system, observed=True))
    with ExitStack() as stack:
        ports = {system: stack.enter_context(serving(system)) for system in results}
        for number in range(HTTP_ROUNDS + 1):
            for system, found in results.items():
                times = asyncio.run(load(ports[system]))
                if number:  # the first round warms up
                    found.requests.append(len(times) / SECONDS)
                    found.latencies.append((1e3 * percentile(times, 0.5), 1e3 * percentile(times, 0.99)))
    return results


def save(results: dict[str, Results], started: datetime) -> Path:
    """Keep the raw results as JSON; returns where."""
    folder = WORKSHOP / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{started:%Y%m%dT%H%M%SZ}.json"
    content = {
        "started": started.isoformat(),
        "machine": machine(),
        "versions": {name: version(name) for name in (*SHARED, "huey", "taskiq")} | {"peer": PEER},
        "results": {NAMES[system]: asdict(found) for system, found in results.items()},
    }
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return path


# Printing


def table(results: dict[str, Results]) -> str:
    """The results as a table in Markdown, as the documentation shows one."""
    rows = [COLUMNS, *([NAMES[system], *found.row] for system, found in results.items())]
    name_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        [name.ljust(name_width), *(value.rjust(width) for value, width in zip(values, widths, strict=True))]
        for name, *values in rows
    ]
    lines.insert(1, ["-" * name_width, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds: within one, a busy machine slows both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def ratios(results: dict[str, Results], other: str) -> dict[str, float]:
    """How many times as much as another system Taskflow does."""
    kinds: dict[str, Callable[[Results], list[float]]] = {
        "nothing observed": lambda found: _rates(found.plain),
        "everything observed": lambda found: _rates(found.observed),
        "requests over HTTP": lambda found: found.requests,
    }
    return {kind: ratio(of(results["Taskflow"]), of(results[other])) for kind, of in kinds.items()}


TARGETS = {"nothing observed": 5, "everything observed": 1.5, "requests over HTTP": 3}
"""Times as much as the published peer."""


def run() -> None:
    """Measure, print and keep."""
    heading(f"Taskflow and others, one task a request; HTTP over {CONNECTIONS} connections")
    started = datetime.now(UTC)
    results = measure()
    print(table(results))
    print()
    for kind, found in ratios(results, "Peer").items():
        print(f"Taskflow / {NAMES['Peer']}, {kind:20} {target(found, TARGETS[kind])}")
    for system in ("Bare", "Huey", "Taskiq"):
        found = ", ".join(f"{kind} {value:.2f} ×" for kind, value in ratios(results, system).items())
        print(f"Taskflow / {NAMES[system]:26} {found}")
    print(f"\nraw results: {save(results, started).relative_to(WORKSHOP.parent)}")


if __name__ == "__main__":
    run()
