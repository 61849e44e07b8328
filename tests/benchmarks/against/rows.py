"""What is measured of both builds: a row is a program, its arguments and what it says in the table.

To add one, write a program into ``programs`` that prints one number, the cost, and add a line to `ROWS`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROWS", "Row"]

PROGRAMS = Path(__file__).parent / "programs"

WAITING = int(os.environ.get("TASKFLOW_BENCH_WAITING", "1000000"))
"""Waiting tasks where there are many; 100,000 for a quick look."""


SDK = "everything: the raw SDK, the same spans"
BARE = "http: bare BackgroundTasks"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured; the first word chooses it on the command line.
        unit: of the cost that the program prints.
        program: its file in ``programs``.
        arguments: for the program.
        rounds: how often each build runs it.
        target: what the ratio new / old should be at most; ``None`` without one.
        against: the row whose cost this one's is compared with, besides the other build's.
    """

    name: str
    unit: str
    program: str
    arguments: tuple[str, ...] = ()
    rounds: int = 5
    target: float | None = None
    against: str | None = None

    @property
    def path(self) -> Path:
        """The program's file."""
        return PROGRAMS / self.program


def _waiting(name: str, what: str) -> list[Row]:
    numbers = (1_000, WAITING)
    return [
        Row(f"waiting: {name}, {number:,} tasks", "ms", "waiting_tasks.py", (what, str(number)), 3)
        for number in numbers
    ]


def _durable() -> list[Row]:
    """SQLite; PostgreSQL and Redis where the environment has an address."""
    rows = [Row("durable: SQLite, 200 at once", "µs", "durable_tasks.py", ("sqlite",), 5, 1 / 1.3)]
    for name, variable, wanted in (("PostgreSQL", "POSTGRES", 1.5), ("Redis", "REDIS", 1.4)):
        if url := os.environ.get(f"TASKFLOW_BENCH_{variable}_URL"):
            row = Row(f"durable: {name}, 200 at once", "µs", "durable_tasks.py", (url,), 5, 1 / wanted)
            rows.append(row)
    return rows


ROWS = [
    Row("nothing observed", "µs CPU", "plain_tasks.py", target=0.75),
    Row(SDK, "µs CPU", "raw_spans.py"),
    Row(
        "everything: all observed, null exporter", "µs CPU", "observed_tasks.py", target=1 / 1.9, against=SDK
    ),
    Row(BARE, "µs CPU", "served_tasks.py", ("bare",)),
    Row("http: install", "µs CPU", "served_tasks.py", ("install",), against=BARE),
    Row("http: Depends", "µs CPU", "served_tasks.py", ("depends",), against=BARE),
    *_durable(),
    *_waiting("scrape", "/metrics"),
    *_waiting("overview", "/tasks/overview"),
    *_waiting("first page", "/tasks"),
    Row("import fastapi", "ms CPU", "import_time.py", ("fastapi",)),
    Row("import taskflow, beyond FastAPI", "ms CPU", "import_time.py", ("taskflow",), target=60 / 132),
    Row("import taskflow and TaskAdmin", "ms CPU", "import_time.py", ("both",)),
    Row("import done, TaskAdmin(...)", "ms CPU", "import_time.py", ("TaskAdmin",)),
]
