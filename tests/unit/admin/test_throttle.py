from __future__ import annotations

import pytest

from taskflow.admin.access.throttle import OVERALL, PER_KEY, WINDOW, Throttle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_some_attempts_are_free_and_the_next_waits_for_the_first_to_be_forgotten(clock: Clock):
    throttle = Throttle(clock)
    for _ in range(PER_KEY):
        assert throttle.wait("ada") == 0
        clock.now += 1
    assert throttle.wait("ada") == WINDOW - PER_KEY
    clock.now += WINDOW - PER_KEY
    assert [throttle.wait("ada"), throttle.wait("ada")] == [0, 1]


def test_who_is_made_to_wait_does_not_wait_longer_for_asking(clock: Clock):
    throttle = Throttle(clock)
    for _ in range(PER_KEY):
        throttle.wait("ada")
    assert {throttle.wait("ada") for _ in range(100)} == {WINDOW}


def test_others_do_not_wait(clock: Clock):
    throttle = Throttle(clock)
    for _ in range(PER_KEY + 1):
        throttle.wait("ada")
    assert throttle.wait("bob") == 0


def test_a_success_is_a_new_start_for_its_key_alone(clock: Clock):
    throttle = Throttle(clock)
    for _ in range(PER_KEY):
        throttle.wait("ada")
        throttle.wait("bob")
    throttle.succeeded("ada")
    assert [throttle.wait("ada"), throttle.wait("bob")] == [0, WINDOW]


def test_many_keys_together_are_made_to_wait_too_and_fill_no_memory(clock: Clock):
    guesses = Throttle(clock)
    assert [guesses.wait(n) for n in range(OVERALL + 10)] == [0] * OVERALL + [WINDOW] * 10
    assert len(guesses) == OVERALL
    clock.now += WINDOW
    assert guesses.wait("ada") == 0
    assert len(guesses) == 1
