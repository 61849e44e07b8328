"""What the comparison asks of every library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider

from tests.benchmarks.exporting import NullExporter, make_provider

__all__ = ["LINE", "LOG", "System", "noop"]

LOG = "tasks.log"
"""Name of the log file."""

LINE = "sent"
"""What a task logs where everything is observed."""

QUEUE = 100_000
"""Spans that may wait for the exporter."""


async def noop() -> None:
    """Nothing: what is measured is everything around it."""


class System(ABC):
    """One library, set up and used as its documentation says.

    Args:
        folder: for log files; given where everything is to be observed.

    Attributes:
        exporter: takes the spans.
        provider: makes them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.exporter = NullExporter()
        self.provider: TracerProvider = make_provider(self.exporter, queue=QUEUE)
        self.folder = folder

    @abstractmethod
    async def request(self) -> None:
        """What a request does: add the task. It has run when this returns."""

    @abstractmethod
    def app(self) -> FastAPI:
        """An application whose ``POST /`` adds the task and answers with an id."""

    async def start(self) -> None:  # noqa: B027 - most have nothing to start ...
        """Start what the library has to start."""

    async def settle(self) -> None:
        """Return when everything that was put off is done: what is written later is not for free."""
        self.provider.force_flush()

    async def stop(self) -> None:  # noqa: B027 - ... and nothing to stop
        """Stop what was started."""

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """From start to stop, for an application."""
        await self.start()
        yield
        await self.stop()
