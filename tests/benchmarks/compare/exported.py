"""`program`'s throughput of a system with everything observed, whose spans go to a collector over OTLP/HTTP:
``python -m tests.benchmarks.compare.exported Peer FOLDER URL``.

Taskflow's go by its own exporter, those of the others by the official one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.benchmarks.compare import system
from tests.benchmarks.compare.program import make, throughput

TASKS = 5_000


def processor(name: str, url: str) -> SpanProcessor:
    """What sends the spans of the system."""
    if name != "Taskflow":
        return BatchSpanProcessor(OTLPSpanExporter(url), max_queue_size=system.QUEUE)
    from taskflow.observers import otlp  # the peer's environment has no such module

    return otlp.BatchSpanProcessor(otlp.OTLPSpanExporter(url), max_queue_size=system.QUEUE)


def main(name: str, folder: str, url: str) -> None:
    """Measure one system, and print what `program` prints."""

    def provider(*_: Any, **__: Any) -> TracerProvider:
        made = TracerProvider(shutdown_on_exit=False)
        made.add_span_processor(processor(name, url))
        return made

    system.make_provider = provider
    print(json.dumps(asyncio.run(throughput(make(name, Path(folder)), TASKS))))


if __name__ == "__main__":
    main(*sys.argv[1:])
