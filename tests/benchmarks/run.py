"""``make bench``: every benchmark, one after the other. Name some to run only those.

``against COMMIT`` is another one: it compares this build with an older one, see `against.alternation`.

Figures of one run are comparable with each other, not with those of another machine or another hour:
read the ratios.
"""

from __future__ import annotations

import sys
from importlib import import_module

from tests.benchmarks.against import alternation
from tests.benchmarks.table import machine

BENCHMARKS = {
    "throughput": "throughput",
    "http": "http",
    "memory": "memory",
    "metrics": "metrics",
    "dashboard": "dashboard",
    "waiting": "waiting",
    "tracing": "tracing",
    "persistence": "persistence",
    "durable": "durable",
    "hotpath": "hotpath",
    "otlp": "otlp",
    "compare": "compare.comparison",
}
"""The module of each, below `tests.benchmarks`; its ``run()`` measures and prints. Here in their order."""


def main() -> None:
    """Run the benchmarks that the command line names, or all."""
    if sys.argv[1:2] == ["against"]:
        print(machine())
        alternation.run(sys.argv[2:])
        return
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}, against")
    print(machine())
    for name in names:
        import_module(f"tests.benchmarks.{BENCHMARKS[name]}").run()


if __name__ == "__main__":
    main()
