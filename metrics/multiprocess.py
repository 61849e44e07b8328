"""Metrics of a server with several processes: gauges on a timer, and one scrape for all of them."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from taskflow.core.complaints import Complaints
from taskflow.metrics.instruments import Instruments
from taskflow.metrics.saturation import Reading, Saturation

__all__ = ["REFRESH_INTERVAL", "MultiprocessScrape", "SaturationMirror", "forget_dead_processes"]

logger = logging.getLogger("taskflow.metrics")

REFRESH_INTERVAL = 1.0
"""Seconds between two refreshes; the gauges of other processes are up to this old in a scrape."""

COMPLAINT_INTERVAL = 60.0
"""Seconds between two records in the log that say that it fails."""


class SaturationMirror:
    """Copies a `Saturation` into file-backed series, so that scrapes of other processes see it.

    Args:
        saturation: what is read.
        instruments: whose series it is written to.
    """

    def __init__(self, saturation: Saturation, instruments: Instruments) -> None:
        self._saturation = saturation
        self._instruments = instruments
        self._shown: dict[tuple[str, tuple[str, ...]], Reading] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._complaints = Complaints(logger, COMPLAINT_INTERVAL)

    def start(self) -> None:
        """Refresh every `REFRESH_INTERVAL`, in a thread, so that it also works while the event loop is busy.

        Does nothing if started.
        """
        if self._thread is not None:
            return
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="taskflow-gauges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refresh once more, and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.refresh()

    def refresh(self) -> None:
        """Write the present values; gauges that no longer exist are set to 0."""
        with self._lock:
            readings = {(r.definition.name, r.labels): r for r in self._saturation.read()}
            for key in self._shown.keys() - readings.keys():
                readings[key] = self._shown[key]._replace(value=0.0)
            for key, reading in readings.items():
                self._show(reading, self._shown.get(key))
            self._shown = readings

    def _show(self, reading: Reading, shown: Reading | None) -> None:
        definition, labels, value = reading
        if definition.kind != "counter":
            self._instruments.gauge(definition, *labels).set(value)
        else:
            self._instruments.counter(definition, *labels).inc(value - (shown.value if shown else 0.0))

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_INTERVAL):
            try:
                self.refresh()
            except Exception as error:  # a full disk, for example: the next refresh may work
                self._complaints.log("the gauges of this process could not be refreshed", exc_info=error)
            else:
                self._complaints.reset()


class MultiprocessScrape:
    """A collector of every process's metrics, as Prometheus should see them now.

    Args:
        directory: ``PROMETHEUS_MULTIPROC_DIR``.
        mirror: this process's gauges, refreshed first.
    """

    def __init__(self, directory: str, mirror: SaturationMirror) -> None:
        self._directory = directory
        self._mirror = mirror

    def collect(self) -> Iterable[Metric]:
        """The families of all processes, without the gauges of those that have ended."""
        self._mirror.refresh()
        forget_dead_processes(self._directory)
        files = [str(path) for path in Path(self._directory).glob("*.db") if _is_filled(path)]
        families: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # untyped
        return families


def _is_filled(path: Path) -> bool:
    """Whether there is something to read: a process that starts makes its files empty."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


_LIVE_GAUGES = re.compile(r"gauge_live[a-z]+_(\d+)\.db")


def forget_dead_processes(directory: str) -> None:
    """Remove the gauges of processes that no longer exist. uvicorn tells nobody when a worker dies."""
    names = (_LIVE_GAUGES.fullmatch(path.name) for path in Path(directory).iterdir())
    for pid in {int(name[1]) for name in names if name}:
        if not _exists(pid):
            # A scrape of another process may have removed it.
            with contextlib.suppress(FileNotFoundError):
                mark_process_dead(pid, directory)  # type: ignore[no-untyped-call] # untyped


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
