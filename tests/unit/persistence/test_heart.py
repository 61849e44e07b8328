"""Heartbeats that go on, or do not, while other things stand still."""

import asyncio
import logging
import threading
import time
from contextlib import asynccontextmanager

import pytest

from taskflow.core.exceptions import BackendUnavailableError
from taskflow.execution.stream import EventStream
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.heart import Heart
from taskflow.persistence.lease import Instance
from tests.faulty import FaultyBackend
from tests.processes import PATIENCE, eventually


class Twinned(FaultyBackend):
    """Offers itself to another thread.

    Attributes:
        threads: on which heartbeats came.
        closed: how often a twin was closed.
    """

    def __init__(self):
        super().__init__()
        self.threads = set()
        self.closed = 0

    def twin(self, timeout):
        return self

    async def renew(self, token):
        self.threads.add(threading.current_thread())
        return await super().renew(token)

    async def close(self):
        self.closed += 1


@asynccontextmanager
async def beating(backend, *, heartbeat=0.02, timeout=PATIENCE, stall=PATIENCE, renewed=None):
    """An instance whose heart beats."""

    async def nothing(): ...

    vitals = BackendVitals(backend.kind, EventStream())
    vitals.start()
    instance = Instance(backend, vitals)
    await instance.acquire()
    heart = Heart(instance, heartbeat, timeout, heartbeat, stall)
    keeping = asyncio.create_task(heart.keep(renewed or nothing))
    await until(lambda: backend.calls["leases"])
    try:
        yield instance, heart
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread
            await asyncio.sleep(0.005)


def hold_up_the_loop_until(condition):
    """Without awaiting, as a task that computes does."""
    eventually(condition)


async def test_heartbeats_go_on_while_the_event_loop_stands_still():
    backend = Twinned()
    async with beating(backend):
        before = backend.calls["renew"]
        hold_up_the_loop_until(lambda: backend.calls["renew"] > before + 5)
    assert threading.current_thread() not in backend.threads


async def test_of_a_loop_that_stands_still_for_too_long_they_end_and_they_come_back_with_it(caplog):
    backend = Twinned()
    async with beating(backend, stall=0.2) as (instance, _):
        hold_up_the_loop_until(lambda: "the event loop has stood still for 0.2 s" in caplog.text)
        beats = backend._leases[instance.token]
        looks = backend.calls["leases"]
        hold_up_the_loop_until(lambda: backend.calls["leases"] > looks + 5)
        assert backend._leases[instance.token] == beats
        await until(lambda: backend._leases[instance.token] > beats)


async def test_a_backend_without_a_twin_is_sent_heartbeats_from_the_loop():
    backend = FaultyBackend()
    async with beating(backend):
        await until(lambda: backend.calls["renew"] > 3)


async def test_the_thread_ends_with_its_manager_and_closes_its_connection():
    backend = Twinned()
    async with beating(backend):
        await until(lambda: backend.threads)
    assert backend.closed == 1
    for thread in backend.threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", [FaultyBackend, Twinned])
async def test_a_lease_that_others_have_ended_is_replaced_and_that_is_told(kind, caplog):
    backend, told = kind(), asyncio.Event()

    async def renewed():
        told.set()

    async with beating(backend, renewed=renewed) as (instance, _):
        old = instance.token
        await backend.expire(old, backend._leases[old])
        async with asyncio.timeout(PATIENCE):
            await told.wait()
        assert instance.token != old
        assert instance.token in backend._leases
    assert caplog.text.count("another instance had ended the lease of this one; a new one was taken") == 1


async def test_while_no_new_lease_can_be_had_that_is_tried_at_each_heartbeat_and_logged_once(caplog):
    backend = FaultyBackend()
    async with beating(backend) as (instance, _):
        backend._leases.clear()
        backend.full = True
        await until(lambda: backend.calls["acquire"] > 4)
        assert "had ended the lease" not in caplog.text
        old, backend.full = instance.token, False
        await until(lambda: instance.token != old)
    assert caplog.text.count("had ended the lease") == 1


async def test_what_failed_is_tried_again_sooner_and_less_and_less_often(monkeypatch):
    pauses = []
    backend = FaultyBackend()
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()))
    await instance.acquire()
    heart = Heart(instance, 10, 40, 10, 600)

    async def sleep(seconds):
        backend.down = 2 <= len(pauses) < 7
        pauses.append(round(seconds))
        if len(pauses) == 10:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await heart._beat(backend, lambda: None)
    assert pauses == [0, 10, 10, 1, 2, 4, 8, 10, 10, 10]


async def test_an_outage_makes_nobody_silent():
    backend = FaultyBackend()
    await backend.acquire("other")
    async with beating(backend, timeout=0.5) as (_, heart):
        await until(lambda: "other" in heart.watch.leases)
        backend.down = True
        failed = backend.calls["renew"]
        # For longer than the timeout, and with more than one try in vain.
        over = time.monotonic() + 0.6
        await until(lambda: time.monotonic() > over and backend.calls["renew"] > failed + 1)
        assert heart.watch.silent() == {}
        backend.down = False
        await until(lambda: "other" in heart.watch.silent())


async def test_that_the_backend_is_away_is_logged_once_also_from_the_thread(caplog):
    caplog.set_level(logging.INFO, "taskflow")
    backend = Twinned()
    async with beating(backend) as (instance, _):
        backend.down = True
        await until(lambda: backend.calls["renew"] > 3)
        await until(lambda: instance.vitals.error is not None)
        backend.down = False
        await until(lambda: instance.vitals.error is None)
    assert caplog.text.count("the backend cannot be used") == 1


async def test_what_a_backend_of_somebody_raises_does_not_end_the_heartbeats():
    class Broken(Twinned):
        async def leases(self):
            self.calls["leases"] += 1
            raise ZeroDivisionError("a bug")

    backend = Broken()
    async with beating(backend) as (instance, _):
        await until(lambda: backend.calls["leases"] > 2)
        assert instance.vitals.error == "memory: ZeroDivisionError: a bug"
        with pytest.raises(BackendUnavailableError):
            await instance.vitals.measure("leases", backend.leases())
