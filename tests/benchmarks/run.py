"""``make bench``: every benchmark, one after the other. Name some to run only those.

Figures of one run are comparable with each other, not with those of another machine or another hour:
read the ratios.
"""

from __future__ import annotations

import sys

from tests.benchmarks import (
    dashboard,
    hotpath,
    http,
    memory,
    metrics,
    persistence,
    throughput,
    tracing,
    waiting,
)
from tests.benchmarks.compare import comparison
from tests.benchmarks.table import machine

BENCHMARKS = {
    "throughput": throughput.run,
    "http": http.run,
    "memory": memory.run,
    "metrics": metrics.run,
    "dashboard": dashboard.run,
    "waiting": waiting.run,
    "tracing": tracing.run,
    "persistence": persistence.run,
    "hotpath": hotpath.run,
    "compare": comparison.run,
}


def main() -> None:
    """Run the benchmarks that the command line names, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    print(machine())
    for name in names:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
