"""Taskflow beside bare `BackgroundTasks`, taskiq and huey in memory, and the published `fastapi-taskflow`.

No-op tasks, one a request. Every system runs in processes of its own, in turn in every round. *Observed*
is, for Taskflow, two spans a task, every metric, and a JSON line for each state and each `task_log`, of
which each task has one; for the others what one writes by hand: one span, a counter and a histogram, and
three lines of text.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version

from tests.benchmarks.compare.environment import PEER, SHARED
from tests.benchmarks.compare.processes import answer, serving
from tests.benchmarks.compare.report import OURS, ratios, report
from tests.benchmarks.compare.results import Comparison, Results
from tests.benchmarks.http import CONNECTIONS, SECONDS, load, percentile
from tests.benchmarks.table import WORKSHOP, heading, machine, target

ROUNDS = 7
HTTP_ROUNDS = 20

NAMES = {
    "Bare": "BackgroundTasks",
    "Huey": f"huey {version('huey')}, immediate",
    "Taskiq": f"taskiq {version('taskiq')}, in memory",
    "Peer": PEER.replace("==", " "),
    "Taskflow": OURS,
}


def measure() -> dict[str, Results]:
    """Every system, in turn; by its name."""
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
    return {NAMES[system]: found for system, found in results.items()}


TARGETS = {"nothing observed": 5, "everything observed": 1.5, "requests over HTTP": 3}
"""Times as much as the published peer."""


def run() -> None:
    """Measure, print and keep."""
    heading(f"Taskflow and others, one task a request; HTTP over {CONNECTIONS} connections")
    started = datetime.now(UTC)
    results = measure()
    versions = {name: version(name) for name in (*SHARED, "huey", "taskiq")} | {"peer": PEER}
    comparison = Comparison(started.isoformat(), machine(), versions, results)
    raw = WORKSHOP / "results" / f"{started:%Y%m%dT%H%M%SZ}.json"
    comparison.save(raw)
    print(report(comparison), end="\n\n")
    ours, peer = results[OURS], results[NAMES["Peer"]]
    for kind, found in ratios(ours, peer).items():
        print(f"{OURS} / {NAMES['Peer']}, {kind:20} {target(found, TARGETS[kind])}")
    print(f"{OURS} / {NAMES['Peer']}, p99 over HTTP        {ours.p99 / peer.p99:.2f} × (target < 1 ×)")
    print(f"\nraw results: {raw.relative_to(WORKSHOP.parent)}")


if __name__ == "__main__":
    run()
