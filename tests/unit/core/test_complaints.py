"""Log records about a trouble that repeats."""

import logging

import pytest

from taskflow.core import complaints as module
from taskflow.core.complaints import Complaints, complain

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


class Panic(BaseException): ...


def test_an_exception_that_cannot_be_formatted_is_told_by_its_class() -> None:
    class Formatting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                raise Panic
            seen.append(self.format(record))

    seen: list[str] = []
    handler = Formatting()
    logger.addHandler(handler)
    try:
        complain(logger, logging.ERROR, "observer %s raised", "a", exc_info=ValueError("no"))
    finally:
        logger.removeHandler(handler)

    assert ["observer a raised: ValueError (no more, because logging it failed)"] == seen


def test_where_nothing_can_be_logged_stderr_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise Panic

    logger.addFilter(refuse)
    try:
        complain(logger, logging.ERROR, "observer %s raised", "a")
        assert Complaints(logger, 60.0).log("disk %s is full", "b")
    finally:
        logger.removeFilter(refuse)

    assert "observer a raised\ndisk b is full\n" == capsys.readouterr().err


def test_what_the_user_interrupts_is_interrupted() -> None:
    def interrupt(record: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    logger.addFilter(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            complain(logger, logging.ERROR, "observer raised")
    finally:
        logger.removeFilter(interrupt)
