"""Metrics of flushes and backend operations."""

from __future__ import annotations

import time

from taskflow.metrics.catalogue import (
    BACKEND_OPERATION,
    SNAPSHOT_DURATION,
    SNAPSHOT_FAILURES,
    SNAPSHOT_LAST_SUCCESS,
    SNAPSHOT_RECORDS,
)
from taskflow.metrics.instruments import Instruments

__all__ = ["PersistenceMetrics"]


class PersistenceMetrics:
    """Recorder for the metrics of persistence. They are exported from its construction on.

    It is only made if there is a backend, so that no alert fires for missing snapshots without one.

    Args:
        instruments: where the series come from.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._duration = instruments.histogram(SNAPSHOT_DURATION)
        self._records = instruments.counter(SNAPSHOT_RECORDS)
        self._failures = instruments.counter(SNAPSHOT_FAILURES)
        self._last_success = instruments.gauge(SNAPSHOT_LAST_SUCCESS)

    def flush_finished(self, records: int, seconds: float) -> None:
        """A flush wrote ``records`` records in ``seconds`` seconds."""
        self._duration.observe(seconds)
        self._records.inc(records)
        self._last_success.set(time.time())

    def flush_failed(self) -> None:
        """A flush failed; it will be tried again."""
        self._failures.inc()

    def operation(self, backend: str, operation: str, outcome: str, seconds: float) -> None:
        """One operation on a backend took ``seconds`` seconds.

        Args:
            backend: its kind: ``sqlite``, ``postgres``, ``redis`` ...
            operation: the method of the contract: ``claim``, ``save`` ...
            outcome: ``success`` or ``error``.
            seconds: how long it took.
        """
        self._instruments.histogram(BACKEND_OPERATION, backend, operation, outcome).observe(seconds)
