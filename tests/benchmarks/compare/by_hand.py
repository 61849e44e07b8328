"""A span, metrics and log lines around a task function, as one writes them oneself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, Histogram

from tests.benchmarks.compare.system import LINE, LOG

__all__ = ["ByHand"]

NAME = "noop"


class ByHand:
    """One span a task, a counter and a histogram, and lines for its start, for what it logs and its end.

    Args:
        provider: makes the spans.
        folder: for the log file.
    """

    def __init__(self, provider: trace.TracerProvider, folder: Path) -> None:
        self._tracer = provider.get_tracer("by hand")
        registry = CollectorRegistry()
        self._finished = Counter("tasks_finished", "Tasks", ["task", "status"], registry=registry)
        self._seconds = Histogram("task_duration_seconds", "Time", ["task"], registry=registry)
        self._log = _rotating_log(folder / LOG)

    async def noop(self) -> None:
        """The task, observed."""
        self.noop_sync()

    def noop_sync(self) -> None:
        """The same as a plain function."""
        with self._task() as task_id:
            trace.get_current_span().add_event(LINE)
            self._line(task_id, LINE)

    @contextmanager
    def _task(self) -> Iterator[str]:
        task_id, start, status = str(uuid4()), time.perf_counter(), "failed"
        attributes = {"task.id": task_id, "task.name": NAME}
        self._line(task_id, "-- RUNNING")
        with self._tracer.start_as_current_span(
            f"run {NAME}", kind=SpanKind.CONSUMER, attributes=attributes
        ) as span:
            try:
                yield task_id
                status = "success"
            finally:
                span.set_attribute("task.status", status)
                self._finished.labels(NAME, status).inc()
                self._seconds.labels(NAME).observe(time.perf_counter() - start)
                self._line(task_id, f"-- {status.upper()}")

    def _line(self, task_id: str, text: str) -> None:
        self._log.info("[%s] [%s] %s", task_id[:8], NAME, text)


def _rotating_log(path: Path) -> logging.Logger:
    """The standard library's way to a file that rotates."""
    handler = RotatingFileHandler(path, maxBytes=10 * 1024 * 1024, backupCount=5, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("by hand")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return log
