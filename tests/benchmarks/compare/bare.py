"""FastAPI's own `BackgroundTasks`."""

from __future__ import annotations

from pathlib import Path

from fastapi import BackgroundTasks, FastAPI

from tests.benchmarks.compare.by_hand import ByHand
from tests.benchmarks.compare.system import System, noop

ID = "01234567-89ab-4def-8123-456789abcdef"
"""What its route answers: bare tasks have no ids."""


class Bare(System):
    """Only the function; what is observed is written around it."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._task = ByHand(self.provider, folder).noop if folder else noop

    async def request(self) -> None:
        tasks = BackgroundTasks()
        tasks.add_task(self._task)
        await tasks()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/")
        async def route(tasks: BackgroundTasks) -> dict[str, str]:
            tasks.add_task(self._task)
            return {"task": ID}

        return app
