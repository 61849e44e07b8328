"""The trace of each task."""

from __future__ import annotations

import threading
from collections import OrderedDict

from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.models import TaskRecord

__all__ = ["Traces"]


class Traces:
    """Reads the event stream, and remembers the trace ids of the latest tasks.

    Args:
        limit: number of tasks whose trace ids are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, event: LifecycleEvent | LogEvent) -> None:
        """Note the trace of an event. Before the task runs, that is the trace of what enqueued it."""
        span = event.span
        if span is None or not span.sampled or isinstance(event, LogEvent):
            return
        with self._lock:
            if event.attempt_duration is None:
                self._ids[event.task_id] = span.trace_id
            if len(self._ids) > self._limit:
                self._ids.popitem(last=False)

    def of(self, record: TaskRecord) -> str | None:
        """The trace id of a task, lowercase hex; ``None`` if it was not traced, or is not remembered."""
        found = self._ids.get(record.task_id)
        if found is None and record.trace_context:
            context = TraceContextTextMapPropagator().extract(record.trace_context)
            span = get_current_span(context).get_span_context()
            return format(span.trace_id, "032x") if span.is_valid else None
        return found
