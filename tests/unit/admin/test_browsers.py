from __future__ import annotations

import pytest

from taskflow.admin.access.browsers import LIFETIME, KnownBrowsers
from taskflow.admin.access.sessions import Sessions

KEY = "a key"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("itsdangerous.timed.time.time", clock)
    return clock


def test_a_browser_is_known_to_every_process_with_the_key_by_an_id_of_its_own(clock: Clock):
    one, other = (KnownBrowsers(KEY, clock).issue("zoë \udcff") for _ in range(2))
    ids = [KnownBrowsers(KEY, clock).read(token, "zoë \udcff") for token in (one, one, other)]
    assert None not in ids
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)


def test_it_is_known_for_the_account_alone_that_logged_in(clock: Clock):
    browsers = KnownBrowsers(KEY, clock)
    assert browsers.read(browsers.issue("ada"), "bob") is None


@pytest.mark.parametrize(("after", "known"), [(LIFETIME - 1, True), (LIFETIME, False)])
def test_it_is_forgotten_after_its_time(clock: Clock, after: float, known: bool):
    browsers = KnownBrowsers(KEY, clock)
    token = browsers.issue("ada")
    clock.now += after
    assert (browsers.read(token, "ada") is not None) is known


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "é", KnownBrowsers("another").issue("ada")])
def test_what_was_not_issued_is_no_known_browser(token: str | None):
    assert KnownBrowsers(KEY).read(token, "ada") is None


def test_a_session_is_no_known_browser_and_a_known_browser_no_session():
    sessions, browsers = Sessions(KEY, 60), KnownBrowsers(KEY)
    assert browsers.read(sessions.issue("ada"), "ada") is None
    assert sessions.read(browsers.issue("ada")) is None
