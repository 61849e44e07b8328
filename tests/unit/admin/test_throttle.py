from __future__ import annotations

import pytest

from taskflow.admin.access.throttle import (
    OVERALL,
    PER_ACCOUNT,
    PER_ADDRESS,
    WINDOW,
    Limit,
    Throttle,
    limits_of,
)

HOME = "192.0.2.1"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


ADA, BOB = (limits_of(name, HOME, None)[:1] for name in ("ada", "bob"))


def test_some_attempts_are_free_and_the_next_waits_for_the_first_to_be_forgotten(
    throttle: Throttle, clock: Clock
):
    for _ in range(PER_ACCOUNT):
        assert throttle.wait(ADA) == 0
        clock.now += 1
    assert throttle.wait(ADA) == WINDOW - PER_ACCOUNT
    clock.now += WINDOW - PER_ACCOUNT
    assert [throttle.wait(ADA), throttle.wait(ADA)] == [0, 1]


def test_who_is_made_to_wait_does_not_wait_longer_for_asking(throttle: Throttle):
    for _ in range(PER_ACCOUNT):
        throttle.wait(ADA)
    assert {throttle.wait(ADA) for _ in range(100)} == {WINDOW}


def test_others_do_not_wait(throttle: Throttle):
    for _ in range(PER_ACCOUNT + 1):
        throttle.wait(ADA)
    assert throttle.wait(BOB) == 0


def test_a_success_is_a_new_start_for_its_account_alone(throttle: Throttle):
    for _ in range(PER_ACCOUNT):
        throttle.wait(ADA)
        throttle.wait(BOB)
    throttle.succeeded(ADA)
    assert [throttle.wait(ADA), throttle.wait(BOB)] == [0, WINDOW]


def test_the_first_limit_that_is_reached_tells_how_long_to_wait(throttle: Throttle, clock: Clock):
    narrow, wide = Limit("narrow", 1), Limit("wide", 2)
    throttle.wait([wide])
    clock.now += 10
    throttle.wait([narrow, wide])
    assert [throttle.wait([narrow, wide]), throttle.wait([wide])] == [WINDOW, WINDOW - 10]


def test_one_address_is_made_to_wait_whatever_the_account_and_no_other_one(throttle: Throttle):
    waits = [throttle.wait(limits_of(f"user {n}", HOME, None)) for n in range(PER_ADDRESS + 1)]
    assert waits == [0] * PER_ADDRESS + [WINDOW]
    assert throttle.wait(limits_of("ada", "192.0.2.2", None)) == 0


def test_an_account_that_many_addresses_guess_at_is_open_to_another_address(throttle: Throttle):
    for n in range(OVERALL - 1):
        throttle.wait(limits_of("ada", f"address {n}", None))
    assert throttle.wait(limits_of("ada", HOME, None)) == 0


def test_many_addresses_together_are_made_to_wait_too_and_fill_no_memory(throttle: Throttle, clock: Clock):
    waits = [throttle.wait(limits_of("ada", f"address {n}", None)) for n in range(OVERALL + 10)]
    assert waits == [0] * OVERALL + [WINDOW] * 10
    assert len(throttle) == OVERALL
    clock.now += WINDOW
    assert throttle.wait(ADA) == 0
    assert len(throttle) == 1


def test_a_known_browser_is_counted_by_itself(throttle: Throttle):
    for n in range(OVERALL):
        throttle.wait(limits_of("ada", f"address {n // PER_ACCOUNT}", None))
    assert throttle.wait(limits_of("ada", HOME, None)) == WINDOW
    known = [throttle.wait(limits_of("ada", HOME, "browser")) for _ in range(PER_ACCOUNT + 1)]
    assert known == [0] * PER_ACCOUNT + [WINDOW]
    assert throttle.wait(limits_of("ada", HOME, "another browser")) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("testclient", "testclient", True),
        ("", "", True),
    ],
)
def test_ipv6_addresses_of_one_network_count_as_one(one: str, other: str, same: bool):
    assert (limits_of("ada", one, None) == limits_of("ada", other, None)) is same
