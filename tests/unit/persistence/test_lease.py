"""A lease that is replaced while what it covers is being written, on a backend that answers late or not."""

import asyncio
from types import SimpleNamespace

import pytest

from taskflow.core.exceptions import BackendUnavailableError
from taskflow.core.models import TaskStatus
from taskflow.execution.stream import EventStream
from taskflow.persistence.backend import APPLIED, Change
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.lease import Instance
from tests.backends import row
from tests.faulty import FaultyBackend


class LateBackend(FaultyBackend):
    """Answers when the test lets it, or not at all.

    Attributes:
        answers: an open gate behind which a lease has been made.
        mute: a lease is made, and the call fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()
        self.mute = False

    async def acquire(self, token: str, seconds: float, *, previous: str | None = None) -> None:
        await super().acquire(token, seconds, previous=previous)
        await self.answers.wait()
        if self.mute:
            raise BackendUnavailableError(self.kind, "the answer was lost")


@pytest.fixture
def backend() -> LateBackend:
    return LateBackend()


@pytest.fixture
async def instance(backend):
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()), 10, 30)
    await instance.acquire()
    await instance.commit(lambda token: [Change(row("a", owner=token))])
    return instance


def start(token: str) -> list[Change]:
    return [Change(row("a", TaskStatus.RUNNING, owner=token), (token, TaskStatus.PENDING))]


async def test_a_new_lease_waits_for_what_is_being_written_under_the_old_one(instance, backend):
    backend.gate.clear()
    writing = asyncio.create_task(instance.commit(start))
    await asyncio.sleep(0)
    renewing = asyncio.create_task(instance.acquire(previous=instance.token))
    await asyncio.sleep(0)
    backend.gate.set()
    assert await writing == [APPLIED]
    await renewing
    assert (await backend.get("a")).owner == instance.token


async def test_what_is_written_while_a_new_lease_is_being_made_is_written_under_it(instance, backend):
    backend.answers.clear()
    renewing = asyncio.create_task(instance.acquire(previous=instance.token))
    await asyncio.sleep(0)
    writing = asyncio.create_task(instance.commit(start))
    await asyncio.sleep(0)
    backend.answers.set()
    await renewing
    assert await writing == [APPLIED]
    assert (await backend.get("a")).owner == instance.token


async def test_a_lease_of_which_the_answer_was_lost_still_has_its_rows(instance, backend):
    old = instance.token
    backend.mute = True
    with pytest.raises(BackendUnavailableError):
        await instance.acquire(previous=old)
    assert instance.token == old
    backend.mute = False
    await instance.acquire(previous=old)
    assert (await backend.get("a")).owner == instance.token
    assert await instance.commit(start) == [APPLIED]


async def test_that_a_lease_ran_out_is_logged_when_there_is_a_new_one_and_not_at_each_heartbeat(
    instance, backend, caplog: pytest.LogCaptureFixture
):
    backend._leases.clear()
    backend.full = True
    for _ in range(3):
        with pytest.raises(BackendUnavailableError):
            await instance._beat()
    assert "the lease" not in caplog.text
    backend.full = False
    await instance._beat()
    assert 1 == caplog.text.count("the lease had run out before its heartbeat came; a new one was taken")


async def test_a_heartbeat_that_failed_is_tried_again_sooner_and_less_and_less_often(
    instance, backend, monkeypatch: pytest.MonkeyPatch
):
    pauses: list[float] = []

    async def confirmed() -> None: ...

    async def sleep(seconds: float) -> None:
        backend.down = 2 <= len(pauses) < 7
        pauses.append(seconds)
        if len(pauses) == 9:
            raise asyncio.CancelledError

    monkeypatch.setattr("taskflow.persistence.lease.asyncio", SimpleNamespace(sleep=sleep, Lock=asyncio.Lock))
    with pytest.raises(asyncio.CancelledError):
        await instance.run(confirmed)
    assert [10, 10, 10, 1, 2, 4, 8, 10, 10] == pauses
