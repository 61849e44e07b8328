from __future__ import annotations

from typing import Any

import pytest

from taskflow.admin.feed import client
from taskflow.admin.feed.client import Client, Ticket
from taskflow.admin.feed.ring import Ring


def encode(message: Any, position: str) -> bytes:
    return f"{message}@{position.partition('-')[2]} ".encode()


@pytest.fixture
def ring() -> Ring[Any]:
    return Ring(3, encode)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TICK", 0.001)
    monkeypatch.setattr(client, "AFTER_RESET", 0.0)


async def test_what_comes_is_sent_from_the_first_look_on(ring: Ring[Any]):
    ring.append("before")
    chunks = Client(ring, Ticket(), 0.0).chunks()
    assert await anext(chunks) == f"id: {ring.position(1)}\nretry: 2000\n\n".encode()
    ring.append("one")
    ring.append("two")
    assert await anext(chunks) == b"one@2 two@3 "


async def test_who_cannot_keep_up_is_told_to_load_everything_again_once_and_goes_on_from_there(
    ring: Ring[Any],
):
    chunks = Client(ring, Ticket(), 0.0).chunks()
    await anext(chunks)
    for number in range(5):
        ring.append(number)
    assert await anext(chunks) == f"event: reset\ndata: {{}}\nid: {ring.position(5)}\n\n".encode()
    ring.append("next")
    assert await anext(chunks) == b"next@6 "


async def test_it_ends_when_it_is_closed(ring: Ring[Any]):
    listening = Client(ring, Ticket(), 0.0)
    chunks = listening.chunks()
    await anext(chunks)
    listening.closed.set()
    assert [chunk async for chunk in chunks] == []


async def test_it_ends_when_its_ticket_does(ring: Ring[Any]):
    answers = iter([True, True, False])
    chunks = Client(ring, Ticket(lasts=lambda: next(answers)), 0.0).chunks()
    await anext(chunks)
    ring.append("one")
    assert [chunk async for chunk in chunks] == [b"one@1 "]


async def test_it_ends_by_itself_and_who_comes_back_goes_on_where_it_was(
    ring: Ring[Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "LIFETIME", 0.0)
    chunks = [chunk async for chunk in Client(ring, Ticket(), 0.0).chunks()]
    position = ring.position(0)
    assert [position.encode() in chunk for chunk in chunks] == [True]
    ring.append("missed")
    monkeypatch.undo()
    again = Client(ring, Ticket(last_event_id=position), 0.0).chunks()
    await anext(again)
    assert await anext(again) == b"missed@1 "
