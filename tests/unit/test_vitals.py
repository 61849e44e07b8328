"""Operations on a backend that do not do what they are told."""

import asyncio

import pytest

from taskflow import TaskManager
from taskflow.exceptions import BackendUnavailableError
from tests.faulty import FaultyBackend
from tests.processes import PATIENCE


class Deaf(FaultyBackend):
    """Takes a cancellation of a heartbeat for its end, as `asyncio.wait_for` may before Python 3.12.

    Attributes:
        beating: set when a heartbeat is under way.
        fails: whether such a heartbeat fails.
    """

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.beating, self.fails = asyncio.Event(), fails

    async def renew(self, token: str, seconds: float) -> bool:
        self.beating.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.fails:
                raise BackendUnavailableError(self.kind, "the connection was closed") from None
        return True


@pytest.mark.parametrize("fails", [False, True])
async def test_a_shutdown_ends_although_a_heartbeat_does_not_notice_that_it_is_cancelled(fails):
    backend = Deaf(fails)
    manager = TaskManager(snapshot_backend=backend, heartbeat_interval=0.01)
    await manager.startup()
    await backend.beating.wait()
    async with asyncio.timeout(PATIENCE):
        await manager.shutdown()
    assert not manager.running
