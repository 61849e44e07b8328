"""Everything that one registry exports, shared by all managers and observers that use the registry."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from taskflow.core.exceptions import ConfigurationError
from taskflow.metrics.catalogue import EVENT_LOOP_LAG
from taskflow.metrics.files import multiprocess_directory
from taskflow.metrics.instruments import FileInstruments, Instruments, MemoryInstruments
from taskflow.metrics.loop import LoopProbe
from taskflow.metrics.multiprocess import MultiprocessScrape, SaturationMirror
from taskflow.metrics.persistence import PersistenceMetrics
from taskflow.metrics.saturation import Saturation, SaturationSource

__all__ = ["Export", "export_of", "scrape_of"]


class Export:
    """The metrics of one registry, or of this whole process where processes share a directory.

    Args:
        instruments: makes the series that events feed.
        registry: exports them. The reference is weak, because the registry has this object.

    Attributes:
        instruments: as given.
        saturation: the gauges that are read at each scrape.
    """

    def __init__(self, instruments: Instruments, registry: CollectorRegistry) -> None:
        self.instruments = instruments
        self.saturation = Saturation(instruments.names)
        self._registry = weakref.ref(registry)
        # Weak references: observers have the registry, and the registry has this object.
        self._counting: WeakKeyDictionary[SaturationSource, weakref.ref[object]] = WeakKeyDictionary()
        self._probes: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopProbe] = WeakKeyDictionary()

    @cached_property
    def persistence(self) -> PersistenceMetrics:
        """The recorder for flushes and backend operations; its metrics appear at the first use."""
        return PersistenceMetrics(self.instruments)

    def watch(self, source: SaturationSource, observer: object) -> None:
        """Export the saturation of ``source``, whose events ``observer`` counts.

        Raises:
            ConfigurationError: another observer already counts them here.
        """
        if self._counting.setdefault(source, weakref.ref(observer))() is not observer:
            raise ConfigurationError(
                "loggers",
                observer,
                "a second PrometheusObserver on one registry would count every task twice",
            )
        self.saturation.watch(source)
        _watching.setdefault(source, self)

    def join_loop(self) -> None:
        """Watch the running event loop, until `leave_loop` was called as often as this method."""
        loop = asyncio.get_running_loop()
        if loop not in self._probes:
            self._probes[loop] = LoopProbe(self.instruments.histogram(EVENT_LOOP_LAG))
            self.saturation.watch_limiter(self._probes[loop].limiter)
        self._probes[loop].users += 1

    async def leave_loop(self) -> None:
        """Stop watching the running event loop, unless other callers of `join_loop` still need it."""
        loop = asyncio.get_running_loop()
        probe = self._probes.get(loop)
        if probe is None:
            return
        probe.users -= 1
        if probe.users == 0:
            del self._probes[loop]
            self.saturation.forget_limiter(probe.limiter)
            await probe.stop()

    def scrape(self) -> Collector:
        """The collector that a scrape renders."""
        registry = self._registry()
        return CollectorRegistry() if registry is None else registry


class MultiprocessExport(Export):
    """The metrics of this process, in the files that all processes of the server share."""

    def __init__(self, instruments: Instruments, registry: CollectorRegistry, directory: str) -> None:
        super().__init__(instruments, registry)
        self._mirror = SaturationMirror(self.saturation, instruments)
        self._scrape = MultiprocessScrape(directory, self._mirror)

    def join_loop(self) -> None:
        """As `Export.join_loop`; the gauges are refreshed meanwhile."""
        super().join_loop()
        self._mirror.start()

    async def leave_loop(self) -> None:
        """As `Export.leave_loop`."""
        await super().leave_loop()
        if not self._probes:
            self._mirror.stop()

    def scrape(self) -> Collector:
        """The collector of the files of all processes; the registry has none of their metrics."""
        return self._scrape


_lock = threading.Lock()
_exports: WeakKeyDictionary[CollectorRegistry, Export] = WeakKeyDictionary()
_watching: WeakKeyDictionary[SaturationSource, Export] = WeakKeyDictionary()
_of_process: list[MultiprocessExport] = []


def scrape_of(source: SaturationSource) -> Collector:
    """The collector that a scrape of a manager renders: the registry of its first `PrometheusObserver`.

    Raises:
        ConfigurationError: it has none.
    """
    export = _watching.get(source)
    if export is None:
        raise ConfigurationError("loggers", source.logger, "/metrics needs a PrometheusObserver among them")
    return export.scrape()


def export_of(registry: CollectorRegistry, buckets: Sequence[float]) -> Export:
    """The export of a registry: made by the first observer that uses it, shared by the others.

    Raises:
        ConfigurationError: the others use different ``buckets``.
    """
    with _lock:
        export = _export(registry, buckets)
    if export.instruments.buckets != tuple(buckets):
        allowed = f"the registry already has {export.instruments.buckets}, from another PrometheusObserver"
        raise ConfigurationError("buckets", tuple(buckets), allowed)
    return export


def _export(registry: CollectorRegistry, buckets: Sequence[float]) -> Export:
    directory = multiprocess_directory()
    if directory is not None:
        if not Path(directory).is_dir():
            raise ConfigurationError("PROMETHEUS_MULTIPROC_DIR", directory, "must be an existing folder")
        # One per process: the same series of two registries would overwrite each other in the files.
        if not _of_process:
            _of_process.append(MultiprocessExport(FileInstruments(buckets), registry, directory))
        return _of_process[0]
    if registry not in _exports:
        export = Export(MemoryInstruments(registry, buckets), registry)
        registry.register(export.saturation)
        _exports[registry] = export
    return _exports[registry]
