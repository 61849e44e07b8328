"""Log records about a trouble that repeats."""

import logging

import pytest

from taskflow.core import complaints as module
from taskflow.core.complaints import Complaints

logger = logging.getLogger("taskflow.test")


class Clock:
    """Stands for `time`.

    Attributes:
        now: seconds that `monotonic` tells.
    """

    now = 1.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_within_the_interval_one_record_is_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(logger, 60.0)

    logged = [complaints.log("disk %s is full", "a"), complaints.log("disk %s is full", "b")]
    clock.now += 60.0
    logged.append(complaints.log("disk %s is full", "c"))

    assert [True, False, True] == logged
    assert ["disk a is full", "disk c is full"] == caplog.messages


def test_after_a_reset_the_next_record_is_logged_at_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    complaints = Complaints(logger, 60.0)
    complaints.log("first")

    complaints.reset()
    complaints.log("second")
    complaints.log("third")

    assert ["first", "second"] == caplog.messages


def test_two_troubles_do_not_silence_each_other(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    Complaints(logger, 60.0).log("the disk is full")
    Complaints(logger, 60.0).log("the net is down")

    assert ["the disk is full", "the net is down"] == caplog.messages


def test_a_record_has_the_level_the_exception_and_the_place_of_the_complaint(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    error = OSError("no space")

    Complaints(logger, 60.0, logging.WARNING).log("trouble", exc_info=error)

    (record,) = caplog.records
    assert record.exc_info is not None
    assert (logging.WARNING, error, __file__) == (record.levelno, record.exc_info[1], record.pathname)
