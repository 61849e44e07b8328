"""A comparison in Markdown, as the documentation shows it.

``python -m tests.benchmarks.compare.report FILE`` puts what a run found on that page, and its raw results
beside it: FILE is the JSON that the run names at its end.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

from tests.benchmarks.compare.results import Comparison, Results
from tests.processes import ROOT

__all__ = ["OURS", "PAGE", "RAW", "publish", "ratios", "report"]

PAGE = ROOT / "docs/performance.md"
RAW = ROOT / "docs/performance.json"
SECTION = re.compile(r"(?<=<!-- comparison -->\n\n).*(?=\n\n<!-- end of the comparison -->)", re.DOTALL)

OURS = "Taskflow"
USED = ("fastapi", "starlette", "uvicorn", "opentelemetry-sdk", "prometheus-client")

Column = tuple[str, Callable[[Results], str]]
COLUMNS: Sequence[Column] = (
    ("tasks/s", lambda found: f"{median(found.rates):,.0f}"),
    ("µs a task", lambda found: f"{1e6 / median(found.rates):.1f}"),
    ("bytes kept", lambda found: f"{found.bytes_kept:,.0f}"),
    ("observed, tasks/s", lambda found: f"{median(found.observed_rates):,.0f}"),
    ("µs a task", lambda found: f"{1e6 / median(found.observed_rates):.1f}"),
    ("HTTP, requests/s", lambda found: f"{median(found.requests):,.0f}"),
    ("p50 ms", lambda found: f"{found.p50:.1f}"),
    ("p99 ms", lambda found: f"{found.p99:.1f}"),
)

KINDS: dict[str, Callable[[Results], Sequence[float]]] = {
    "nothing observed": lambda found: found.rates,
    "everything observed": lambda found: found.observed_rates,
    "requests over HTTP": lambda found: found.requests,
}


def report(comparison: Comparison) -> str:
    """Where it was measured, the figures, and the ratios."""
    results = comparison.results
    figures = [
        ["", *(title for title, _ in COLUMNS)],
        *([name, *(show(found) for _, show in COLUMNS)] for name, found in results.items()),
    ]
    multiples = [
        ["times as much as", *KINDS],
        *(
            [name, *(f"{ratio:.2f} ×" for ratio in ratios(results[OURS], found).values())]
            for name, found in results.items()
            if name != OURS
        ),
    ]
    return "\n\n".join([place(comparison), table(figures), f"{OURS} does:", table(multiples)])


def place(comparison: Comparison) -> str:
    """When, on what and with what."""
    day = datetime.fromisoformat(comparison.started).date()
    used = ", ".join(f"{name} {comparison.versions[name]}" for name in USED)
    return f"Measured on {day} with {comparison.machine}; {used}."


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown that can be read as text, too; numbers stand right."""
    name_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [
        [name.ljust(name_width), *(value.rjust(width) for value, width in zip(values, widths, strict=True))]
        for name, *values in rows
    ]
    lines.insert(1, ["-" * name_width, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratios(ours: Results, theirs: Results) -> dict[str, float]:
    """Medians over the rounds: within one, a busy machine slows both."""
    return {
        kind: median(one / other for one, other in zip(of(ours), of(theirs), strict=True))
        for kind, of in KINDS.items()
    }


def publish(path: Path, page: Path = PAGE, raw: Path = RAW) -> None:
    """Put a run on the page, and its raw results beside it."""
    comparison = Comparison.load(path)
    comparison.save(raw)
    text = page.read_text(encoding="utf-8")
    page.write_text(SECTION.sub(lambda _: report(comparison), text), encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
