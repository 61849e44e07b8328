"""Pauses between tries."""

from taskflow.core.backoff import Backoff


def test_each_pause_is_twice_as_long_as_the_one_before_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)

    assert [0.5, 1.0, 2.0, 3.0, 3.0, 3.0] == [backoff.next() for _ in range(6)]


def test_after_a_success_the_pauses_begin_again() -> None:
    backoff = Backoff(1.0, 30.0)
    backoff.next()
    backoff.next()

    backoff.reset()

    assert [1.0, 2.0] == [backoff.next(), backoff.next()]


def test_no_pause_exceeds_the_longest_not_even_the_first() -> None:
    backoff = Backoff(1.0, 0.25)
    pauses = [backoff.next(), backoff.next()]

    backoff.reset()

    assert [0.25, 0.25, 0.25] == [*pauses, backoff.next()]
