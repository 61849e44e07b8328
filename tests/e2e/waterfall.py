"""Draws the picture in docs/tracing.md from a real trace, as Jaeger's query API gives it.

``JAEGER_BIN=$(.ci/jaeger) python -m tests.e2e.waterfall docs/trace.svg``
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from tests.e2e.test_jaeger import is_error, shop
from tests.jaeger import JaegerSpan, Trace, running_jaeger

ROW, LEFT, WIDTH, TOP = 26, 330, 560, 56
COLOURS = {"server": "#64748b", "producer": "#7c3aed", "consumer": "#2563eb", "client": "#0d9488"}
DETAILS = {"fastapi.dependencies", "fastapi.serialization"}

DARK = """<style>
@media (prefers-color-scheme: dark) {
[fill="#ffffff"] { fill: #0f172a } [stroke="#e2e8f0"] { stroke: #334155 }
[fill="#0f172a"], [fill="#334155"] { fill: #e2e8f0 } text[fill="#64748b"] { fill: #94a3b8 }
}
</style>"""
"""The same colours for readers of dark pages."""

Row = tuple[int, JaegerSpan]


def rows(spans: Trace) -> Iterator[Row]:
    """Depth and span, parents before children, without FastAPI's spans that explain nothing here."""

    def below(parent: str | None, depth: int) -> Iterator[Row]:
        children = [span for span in spans if span.parent_id == parent]
        for span in sorted(children, key=lambda span: span.start):
            if span.name not in DETAILS and not (span.name == "fastapi.endpoint" and depth > 1):
                yield depth, span
                yield from below(span.span_id, depth + 1)

    return below(None, 0)


def draw(spans: Trace) -> str:
    """The trace as an SVG document."""
    shown = list(rows(spans))
    begin = min(span.start for span in spans)
    length = max(span.start + span.duration for span in spans) - begin
    height = TOP + ROW * len(shown) + 44

    def x(moment: int) -> float:
        return LEFT + WIDTH * (moment - begin) / length

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {height}" role="img"'
            ' font-family="ui-sans-serif, system-ui, sans-serif" font-size="12.5">'
        ),
        "<title>One trace: a request, the task that it enqueued, and its three attempts</title>",
        DARK,
        '<rect width="100%" height="100%" rx="6" fill="#ffffff" stroke="#e2e8f0"/>',
        *axis(length, height),
    ]
    for number, (depth, span) in enumerate(shown):
        parts += bar(depth, span, TOP + ROW * number, x)
    parts.append(legend(height - 16))
    return "\n".join([*parts, "</svg>"]) + "\n"


def axis(length: int, height: int) -> Iterator[str]:
    """Five vertical lines with their times in milliseconds."""
    for step in range(5):
        x = LEFT + WIDTH * step / 4
        yield f'<line x1="{x}" y1="36" x2="{x}" y2="{height - 36}" stroke="#e2e8f0"/>'
        yield f'<text x="{x}" y="28" text-anchor="middle" fill="#64748b">{length * step / 4000:.0f} ms</text>'


def bar(depth: int, span: JaegerSpan, y: int, x: Callable[[int], float]) -> Iterator[str]:
    """Name, bar, duration and log lines of a span."""
    colour = "#dc2626" if is_error(span) else COLOURS.get(span.tags["span.kind"], "#94a3b8")
    left, width = x(span.start), max(2.0, x(span.start + span.duration) - x(span.start))
    yield f'<text x="{16 + 18 * depth}" y="{y + 17}" fill="#0f172a">{escape(span.name)}</text>'
    yield f'<rect x="{left:.1f}" y="{y + 5}" width="{width:.1f}" height="15" rx="2" fill="{colour}"/>'
    for log in span.log_times:
        yield f'<circle cx="{x(log):.1f}" cy="{y + 12.5}" r="3" fill="#facc15" stroke="#713f12"/>'
    took = f"{span.duration / 1000:.1f} ms" if span.duration >= 100 else f"{span.duration} µs"
    yield f'<text x="{left + width + 7:.1f}" y="{y + 17}" fill="#64748b" font-size="11">{took}</text>'


def legend(y: int) -> str:
    """What the colours mean."""
    names = [*COLOURS.items(), ("internal", "#94a3b8"), ("error", "#dc2626")]
    boxes = "".join(
        f'<rect x="{16 + 92 * n}" y="{y - 10}" width="12" height="12" rx="2" fill="{colour}"/>'
        f'<text x="{33 + 92 * n}" y="{y}">{name}</text>'
        for n, (name, colour) in enumerate(names)
    )
    line = 16 + 92 * len(names)
    return (
        f'<g fill="#334155" font-size="11">{boxes}'
        f'<circle cx="{line + 6}" cy="{y - 4}" r="3" fill="#facc15" stroke="#713f12"/>'
        f'<text x="{line + 17}" y="{y}">log line or exception</text></g>'
    )


def main(target: Path) -> None:
    """Make the trace and draw it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_jaeger(Path(os.environ["JAEGER_BIN"]), Path(folder)) as jaeger,
        shop(jaeger) as app,
    ):
        for _ in range(2):  # the first request of a process also pays for imports
            task_id = app.post("/orders/async/async")
            app.wait_for(task_id, "success")
        app.stop()
        target.write_text(draw(app.trace_of(task_id)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
