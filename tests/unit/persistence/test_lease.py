"""A lease that is replaced while what it covers is being written, on a backend that answers late or not."""

import asyncio

import pytest

from taskflow.core.exceptions import BackendUnavailableError
from taskflow.core.models import TaskStatus
from taskflow.execution.stream import EventStream
from taskflow.persistence.backend import APPLIED, Change
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.identity import life_of
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

    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        await super().acquire(token, previous=previous)
        await self.answers.wait()
        if self.mute:
            raise BackendUnavailableError(self.kind, "the answer was lost")


@pytest.fixture
def backend() -> LateBackend:
    return LateBackend()


@pytest.fixture
async def instance(backend):
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()))
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


async def test_a_manager_has_its_name_from_its_start_and_not_from_its_making(backend):
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()))
    assert instance.token == ""
    tokens = []
    for _ in range(2):
        await instance.acquire()
        tokens.append(instance.token)
    first, second = map(life_of, tokens)
    assert first != second


async def test_a_lease_that_replaces_another_one_is_of_the_same_life(instance):
    old = instance.token
    await instance.acquire(previous=old)
    assert (instance.token != old, life_of(instance.token)) == (True, life_of(old))
