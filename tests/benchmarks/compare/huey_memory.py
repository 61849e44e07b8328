"""huey in memory, run at once: without a consumer, so that the function is called on the event loop."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from huey import MemoryHuey

from tests.benchmarks.compare.by_hand import ByHand
from tests.benchmarks.compare.system import System


def noop() -> None:
    """Nothing; huey has no async functions."""


class Huey(System):
    """`MemoryHuey` in its immediate mode."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        huey = MemoryHuey("bench", immediate=True)
        self._task = huey.task()(ByHand(self.provider, folder).noop_sync if folder else noop)

    async def request(self) -> None:
        self._task()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/")
        async def route() -> dict[str, str]:
            return {"task": self._task().id}

        return app
