"""Operations on a backend that do not do what they are told, and what is told of them."""

import asyncio
import logging
import re
from collections.abc import Callable

import pytest

from taskflow import CommitError, TaskManager
from taskflow.backends import MemoryBackend
from taskflow.core.exceptions import BackendUnavailableError
from taskflow.execution.stream import EventStream
from taskflow.persistence import health
from taskflow.persistence.backend import APPLIED, LOST, MISSING
from taskflow.persistence.health import BackendVitals
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

    async def renew(self, token: str) -> bool:
        self.beating.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.fails:
                raise BackendUnavailableError(self.kind, "the connection was closed") from None
        return True


class NoRoom(MemoryBackend):
    """Takes no new row, and any change of one that is not there: that writes nothing.

    Attributes:
        cancelled: set when such a change was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = asyncio.Event()

    async def commit(self, changes):
        if any(change.expected is None for change in changes):
            raise BackendUnavailableError(self.kind, "it is full")
        self.cancelled.set()
        return await super().commit(changes)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_shutdown_ends_although_a_heartbeat_does_not_notice_that_it_is_cancelled(fails):
    backend = Deaf(fails)
    manager = TaskManager(snapshot_backend=backend, heartbeat_interval=0.01)
    await manager.startup()
    await backend.beating.wait()
    async with asyncio.timeout(PATIENCE):
        await manager.shutdown()
    assert not manager.running


async def answers(result):
    return result


async def fails():
    raise BackendUnavailableError("memory", "it is full")


@pytest.fixture
def vitals():
    return BackendVitals("memory", EventStream())


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ("claimable", []),
        ("open", None),
        ("flush", None),
        ("renew", False),
        ("prune", 0),
        ("commit", [LOST, MISSING]),
        ("commit", []),
    ],
)
async def test_what_writes_nothing_does_not_prove_that_writing_works_again(vitals, operation, result):
    with pytest.raises(BackendUnavailableError):
        await vitals.measure("commit", fails())
    await vitals.measure(operation, answers(result))
    assert vitals.error == "memory: it is full"
    await vitals.measure("renew", answers(True))
    assert vitals.error is None


async def test_what_writes_does_not_prove_that_reading_works_again(vitals):
    with pytest.raises(BackendUnavailableError):
        await vitals.measure("claimable", fails())
    await vitals.measure("commit", answers([LOST, APPLIED]))
    assert vitals.error == "memory: it is full"
    await vitals.measure("claimable", answers([]))
    assert vitals.error is None


async def test_a_trouble_that_comes_and_goes_is_logged_once_a_minute(
    vitals, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    caplog.set_level(logging.INFO, "taskflow")

    async def come_and_go():
        with pytest.raises(BackendUnavailableError):
            await vitals.measure("commit", fails())
        await vitals.measure("commit", answers([APPLIED]))

    now = 1_000.0
    monkeypatch.setattr(health.time, "monotonic", lambda: now)
    expected = [
        "the backend cannot be used, commit failed: memory: it is full",
        "the backend can be used again",
    ]
    for _ in range(50):
        await come_and_go()
        assert expected == caplog.messages
    now += health.COMPLAINT_INTERVAL
    await come_and_go()
    assert 2 * expected == caplog.messages


async def test_a_task_that_could_not_be_stored_does_not_make_a_full_disk_usable(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.INFO, "taskflow")
    backend = NoRoom()
    manager = TaskManager(snapshot_backend=backend, rescue_interval=600.0)

    @manager.task(persist=True)
    async def work() -> None: ...

    async with manager:
        for _ in range(3):
            refused = manager.enqueue(work)
            with pytest.raises(CommitError, match="it is full"):
                await manager.committed(refused)
            async with asyncio.timeout(PATIENCE):
                await backend.cancelled.wait()
            backend.cancelled.clear()
            assert "memory: it is full" == manager.backend_error
        assert [] == [text for text in caplog.messages if "can be used again" in text]


async def test_what_was_measured_in_another_thread_is_noted_on_the_loop_of_those_who_wait(vitals):
    vitals.start()

    def in_a_thread(operation, work):
        return asyncio.to_thread(lambda: asyncio.run(vitals.measure(operation, work)))

    with pytest.raises(BackendUnavailableError):
        await in_a_thread("renew", fails())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(vitals.usable())
    await asyncio.sleep(0)
    assert not waiting.done()
    await in_a_thread("renew", answers(True))
    async with asyncio.timeout(PATIENCE):
        await waiting


async def test_a_backend_that_can_be_read_and_not_written_is_logged_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "taskflow")
    backend = FaultyBackend()
    times = {"heartbeat_interval": 0.01, "lease_timeout": 0.03, "rescue_interval": 0.01}
    manager = TaskManager(snapshot_backend=backend, snapshot_interval=0.01, **times)

    @manager.task(persist=True)
    async def work() -> None: ...

    @manager.task()
    async def plain() -> None: ...

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def asked(operation: str, times: int) -> None:
        enough = backend.calls[operation] + times
        await until(lambda: backend.calls[operation] >= enough)

    async with manager:
        await asked("claimable", 1)
        backend.full = True
        refused = manager.enqueue(work)
        with pytest.raises(CommitError, match="it is full"):
            await manager.committed(refused)
        manager.enqueue(plain)
        for operation in ("renew", "save", "claimable"):
            await asked(operation, 3)
        assert manager.backend_error == "memory: it is full"
        errors = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
        (error,) = errors  # of whatever came first: a heartbeat may have been quicker than the commit
        assert re.fullmatch(r"the backend cannot be used, \w+ failed: memory: it is full", error)

        backend.full = False
        await until(lambda: manager.backend_error is None)
        await asked("claimable", 3)
        assert sum("can be used again" in record.message for record in caplog.records) == 1
