"""taskiq's in-memory broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from taskiq import InMemoryBroker

from tests.benchmarks.compare.by_hand import ByHand
from tests.benchmarks.compare.system import System, noop


class Taskiq(System):
    """`InMemoryBroker`: awaited in place where the others await their task, in the background over HTTP."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._broker = InMemoryBroker(await_inplace=True)
        self._task = self._broker.task(_function(ByHand(self.provider, folder)) if folder else noop)

    async def request(self) -> None:
        await self._task.kiq()

    def app(self) -> FastAPI:
        app = FastAPI(lifespan=self.lifespan)
        self._broker.await_inplace = False

        @app.post("/")
        async def route() -> dict[str, str]:
            return {"task": (await self._task.kiq()).task_id}

        return app

    async def start(self) -> None:
        await self._broker.startup()

    async def stop(self) -> None:
        await self._broker.shutdown()


def _function(by_hand: ByHand) -> Callable[[], Awaitable[None]]:
    """The observed task as a plain function: taskiq renames what it is given, which a method refuses."""

    async def observed() -> None:
        await by_hand.noop()

    return observed
