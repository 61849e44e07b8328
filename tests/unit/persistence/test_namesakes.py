"""Functions of one name in two places of the code, on one store: both sides are told, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from taskflow import TaskManager
from taskflow.backends import MemoryBackend
from taskflow.core.options import TaskConfig
from taskflow.execution.registry import TaskRegistry
from taskflow.execution.stream import EventStream
from taskflow.persistence import namesakes
from taskflow.persistence.backend import SnapshotBackend
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.lease import Instance
from taskflow.persistence.namesakes import Namesakes


def function(module: str, name: str = "send") -> Callable[[], None]:
    """A function as a module of an application would define it."""

    def send() -> None: ...

    send.__module__, send.__name__, send.__qualname__ = module, name, name
    return send


def looking(backend: SnapshotBackend, *functions: Callable[[], Any]) -> Namesakes:
    """What an instance with these functions does."""
    registry = TaskRegistry()
    for each in functions:
        registry.register(each, TaskConfig())
    return Namesakes(Instance(backend, BackendVitals(backend.kind, EventStream())), registry)


def warning(here: str, there: str) -> str:
    return (
        f"the name 'send' stands for {here} here, and for {there} in another instance in the namespace "
        "'default': each runs the other's tasks with its own function. Give one of the two another name, "
        "or each application a namespace of its own"
    )


async def test_both_sides_are_warned_once(caplog: pytest.LogCaptureFixture):
    backend = MemoryBackend()
    shop = looking(backend, function("shop"), function("shop", "pay"))
    billing = looking(backend, function("billing"), function("billing", "charge"))
    for each in (shop, billing, shop, billing, shop):
        await each.look()
    expected = [warning("billing.send", "shop.send"), warning("shop.send", "billing.send")]
    assert [("taskflow", logging.WARNING, text) for text in expected] == caplog.record_tuples


async def test_instances_of_one_application_are_not_warned(caplog: pytest.LogCaptureFixture):
    backend = MemoryBackend()
    for each in [looking(backend, function("shop")) for _ in range(2)] * 2:
        await each.look()
    assert [] == caplog.messages


@pytest.mark.parametrize("script", ["__main__", "__mp_main__"])
async def test_the_file_that_was_started_is_not_taken_for_another_place(
    script: str, caplog: pytest.LogCaptureFixture
):
    backend = MemoryBackend()
    for each in [looking(backend, function("shop")), looking(backend, function(script))] * 2:
        await each.look()
    assert [] == caplog.messages


async def test_a_backend_of_somebodys_own_needs_nothing_for_it(caplog: pytest.LogCaptureFixture):
    class Own(MemoryBackend):
        declare = SnapshotBackend.declare

    backend = Own()
    for each in (looking(backend, function("shop")), looking(backend, function("billing"))):
        await each.look()
    assert [] == caplog.messages


async def test_managers_look_for_it_while_they_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(namesakes, "INTERVAL", 0.01)
    backend = MemoryBackend()
    wanted = {warning("shop.send", "billing.send"), warning("billing.send", "shop.send")}
    async with AsyncExitStack() as stack:
        for module in ("shop", "billing"):
            manager = TaskManager(snapshot_backend=backend)
            manager.task()(function(module))
            await stack.enter_async_context(manager)
        while not wanted <= set(caplog.messages):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert 2 == len([text for text in caplog.messages if "the name 'send'" in text])
