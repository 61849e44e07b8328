from __future__ import annotations

import threading

import pytest

from taskflow.admin.feed import ring
from taskflow.admin.feed.ring import BehindError, Ring


class Encoder:
    """Encodes a message as itself and the number of its position, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, message: str, position: str) -> bytes:
        self.calls += 1
        return f"{message}@{position.partition('-')[2]} ".encode()


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def filled(encoder: Encoder, size: int, count: int) -> Ring[str]:
    made: Ring[str] = Ring(size, encoder)
    for number in range(count):
        made.append(f"m{number}")
    return made


def test_a_chunk_has_what_came_from_a_place_on(encoder: Encoder):
    made = filled(encoder, 10, 3)
    assert made.chunk(1) == (b"m1@2 m2@3 ", 3)
    assert made.chunk(3) == (b"", 3)
    made.append("m3")
    assert made.chunk(3) == (b"m3@4 ", 4)


def test_a_message_is_encoded_once_whoever_wants_it_and_not_before(encoder: Encoder):
    made = filled(encoder, 10, 3)
    assert encoder.calls == 0
    assert {id(made.chunk(0)[0]) for _ in range(3)} == {id(made.chunk(0)[0])}
    made.chunk(1)
    assert encoder.calls == 3


def test_a_chunk_is_not_longer_than_a_burst(encoder: Encoder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ring, "BURST", 2)
    made = filled(encoder, 10, 5)
    assert [made.chunk(start)[1] for start in (0, 2, 4, 5)] == [2, 4, 5, 5]


def test_what_is_gone_is_told_to_be_gone(encoder: Encoder):
    made = filled(encoder, 3, 5)
    assert made.chunk(2) == (b"m2@3 m3@4 m4@5 ", 5)
    with pytest.raises(BehindError):
        made.chunk(1)


def test_a_position_leads_back_to_its_place(encoder: Encoder):
    made = filled(encoder, 3, 5)
    assert [made.resume(made.position(number)) for number in (2, 3, 5)] == [2, 3, 5]


@pytest.mark.parametrize("number", ["1", "6", "-1", "", "x", "٣", "9" * 30])
def test_a_position_that_is_not_there_is_refused(encoder: Encoder, number: str):
    made = filled(encoder, 3, 5)
    epoch = made.position(0).partition("-")[0]
    with pytest.raises(BehindError):
        made.resume(f"{epoch}-{number}")


def test_a_position_of_another_ring_is_refused(encoder: Encoder):
    one, other = filled(encoder, 3, 3), filled(encoder, 3, 3)
    with pytest.raises(BehindError):
        one.resume(other.position(3))


def test_messages_of_several_threads_are_all_there_in_the_order_of_each(encoder: Encoder):
    made: Ring[str] = Ring(10_000, encoder)

    def add(name: str) -> None:
        for number in range(500):
            made.append(f"{name}{number}")

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    seen, place = b"", 0
    while place < 2_000:
        chunk, place = made.chunk(place)
        seen += chunk
    for thread in threads:
        thread.join()
    messages = [text.partition("@") for text in seen.decode().split()]
    assert [int(number) for _, _, number in messages] == list(range(1, 2_001))
    for name in "abcd":
        assert [text for text, _, _ in messages if text[0] == name] == [f"{name}{n}" for n in range(500)]
