from __future__ import annotations

import asyncio
import gc
import types
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from taskflow import TaskManager
from taskflow.execution.running.results import refuse_unrun


async def send() -> str:
    return "sent"


def rows():
    yield 1


async def rows_async():
    yield 1


@types.coroutine
def old_style():
    yield


class Request:
    """As the request objects of some HTTP clients: nothing is sent before it is awaited."""

    def __await__(self):
        yield


class Compiled(Coroutine[Any, Any, None]):
    """As a coroutine of a compiled module: the protocol, with a class of its own."""

    def __init__(self) -> None:
        self.closed = False

    def __await__(self):
        yield

    def send(self, value: Any) -> Any: ...

    def throw(self, *exc_info: Any) -> Any: ...

    def close(self) -> None:
        self.closed = True


class Proxy:
    """Answers to every question, but for its class."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("not connected")

    def __getattr__(self, name: str) -> Any:
        return self


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (send, "a coroutine that nobody would await: make it an async def that awaits it"),
        (Compiled, "a coroutine that nobody would await: make it an async def that awaits it"),
        (Request, "an awaitable (Request) that nobody would await: make it an async def that awaits it"),
        (rows, "a generator, of which nothing has run: go through it with for"),
        (old_style, "a generator, of which nothing has run: go through it with for"),
        (rows_async, "an async generator, of which nothing has run: go through it with async for"),
        (lambda: map(print, [1]), "an iterator (map) that has called nothing yet: go through it with for"),
    ],
)
def test_what_has_not_run_is_refused_with_what_to_write_instead(make: Any, told: str):
    with pytest.raises(TypeError) as refused:
        refuse_unrun(make())

    assert f"it returned {told}" == str(refused.value)


@pytest.mark.parametrize("value", [None, 0, "sent", {"sent": 3}, [1], iter([1]), range(3), send, Request])
def test_any_other_value_passes(value: Any):
    refuse_unrun(value)


def test_a_value_that_cannot_be_asked_for_its_class_passes():
    refuse_unrun(Proxy())


def test_a_coroutine_that_was_refused_is_closed_without_a_warning():
    compiled = Compiled()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for coroutine in (send(), compiled):
            with pytest.raises(TypeError):
                refuse_unrun(coroutine)
        del coroutine
        gc.collect()

    assert ([], True) == ([str(each.message) for each in warned], compiled.closed)


def test_a_coroutine_that_cannot_be_closed_is_refused_all_the_same():
    class Stubborn(Compiled):
        def close(self) -> None:
            raise SystemExit(3)

    with pytest.raises(TypeError, match="it returned a coroutine") as refused:
        refuse_unrun(Stubborn())

    assert SystemExit is type(refused.value.__cause__)


async def test_an_asyncio_task_passes_only_once_it_has_ended_well():
    async def fail() -> None:
        raise ValueError

    well, ill = asyncio.create_task(send()), asyncio.create_task(fail())
    for unfinished in (well, ill):
        with pytest.raises(TypeError, match=r"it returned an awaitable \(Task\)"):
            refuse_unrun(unfinished)
    await asyncio.wait([well, ill])

    refuse_unrun(well)
    with pytest.raises(TypeError, match=r"it returned an awaitable \(Task\)"):
        refuse_unrun(ill)


def _send() -> object:
    return send()


def _rows() -> object:
    return rows()


def _request() -> object:
    return Request()


async def _send_later() -> object:
    return send()


async def _rows_later() -> object:
    return rows()


@pytest.mark.parametrize(
    ("func", "error"),
    [
        (_send, "it returned a coroutine that nobody would await"),
        (_rows, "it returned a generator, of which nothing has run"),
        (_request, "it returned an awaitable (Request) that nobody would await"),
        (_send_later, "it returned a coroutine that nobody would await"),
        (_rows_later, "it returned a generator, of which nothing has run"),
    ],
)
async def test_a_task_that_has_done_nothing_has_failed(func: Any, error: str):
    manager = TaskManager(handle_signals=False)
    async with manager:
        task_id = manager.enqueue(func)
        await manager.drain()
    record = manager.store.get(task_id)

    assert record is not None
    assert ("failed", "TypeError") == (record.status, record.error_type)
    assert error in (record.error or "")
