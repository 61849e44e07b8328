from __future__ import annotations

import pytest

from taskflow.admin.access.sessions import Sessions

KEY = "a key"


class Clock:
    """Seconds since 1970, as itsdangerous and the sessions see them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0
        monkeypatch.setattr("itsdangerous.timed.time.time", self)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_session_is_read_as_it_was_issued(clock: Clock):
    sessions = Sessions(KEY, 60, clock=clock)
    session = sessions.read(sessions.issue("zoë \udcff"))
    assert (session.username, session.ends) == ("zoë \udcff", clock.now + 60)


def test_no_two_logins_are_the_same_session(clock: Clock):
    sessions = Sessions(KEY, 60, clock=clock)
    one, other = (sessions.read(sessions.issue("ada")) for _ in range(2))
    assert one.session_id != other.session_id


@pytest.mark.parametrize(("after", "valid"), [(0, True), (59, True), (60, False), (10**6, False)])
def test_a_session_ends_after_its_time(clock: Clock, after: float, valid: bool):
    sessions = Sessions(KEY, 60, clock=clock)
    token = sessions.issue("ada")
    clock.now += after
    assert (sessions.read(token) is not None) == valid


@pytest.mark.parametrize(("ahead", "valid"), [(1, True), (60, True), (61, False)])
def test_the_clock_of_who_issued_it_may_be_a_little_ahead(clock: Clock, ahead: float, valid: bool):
    sessions = Sessions(KEY, 600, clock=clock)
    token = sessions.issue("ada")
    clock.now -= ahead
    assert (sessions.read(token) is not None) == valid


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "\udcff", "x" * 100_000])
def test_what_was_not_issued_is_no_session(token: str | None):
    assert Sessions(KEY, 60).read(token) is None


def test_what_the_same_key_has_signed_for_something_else_is_no_session():
    from itsdangerous import URLSafeTimedSerializer

    token = URLSafeTimedSerializer(KEY, salt="something else").dumps(["ada", "id"])
    assert Sessions(KEY, 60).read(token) is None


@pytest.mark.parametrize(("key", "accounts"), [("another", "a"), (KEY, "b")])
def test_another_key_or_other_accounts_end_every_session(key: str, accounts: str):
    token = Sessions(KEY, 60, "a").issue("ada")
    assert Sessions(KEY, 60, "a").read(token) is not None
    assert Sessions(key, 60, accounts).read(token) is None


def test_what_has_ended_is_remembered_until_it_expires_and_no_longer(clock: Clock):
    sessions = Sessions(KEY, 60, clock=clock)
    tokens = [sessions.issue("ada") for _ in range(3)]
    for token in tokens[:2]:
        sessions.end(sessions.read(token))
    assert [sessions.read(token) is None for token in tokens] == [True, True, False]
    clock.now += 59
    late = sessions.issue("ada")
    clock.now += 2
    sessions.end(sessions.read(late))
    assert sessions.ended == 1
