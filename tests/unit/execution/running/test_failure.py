from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from taskflow import TaskManager
from taskflow.execution.running.failure import LEAF_TEXT, LEAVES, STACKTRACE_BYTES, describe, log_failure


def caught(raise_it: Callable[[], Any]) -> BaseException:
    try:
        raise_it()
    except BaseException as exc:
        return exc
    raise AssertionError("it raised nothing")


def refuse() -> None:
    raise ConnectionError("refused")


class Shy(type):
    """Says nothing about its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise LookupError(name)


class NamelessError(Exception, metaclass=Shy): ...


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class NoTextError(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307  # what it is for


class Text(str):
    """Text with methods of its own."""

    __slots__ = ()

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise RuntimeError("no")

    __format__ = encode  # type: ignore[assignment]


class OddTextError(Exception):
    def __str__(self) -> str:
        return Text("odd")


class HostileError(Exception):
    """All that Python's printer asks for raises."""

    @property
    def __traceback__(self):  # type: ignore[override]
        raise RuntimeError("no")

    @property
    def __class__(self):  # type: ignore[override]
        raise RuntimeError("no")

    @property
    def __notes__(self):
        raise RuntimeError("no")

    @property
    def __cause__(self):  # type: ignore[override]
        raise RuntimeError("no")


class HostileErrorGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self):  # type: ignore[override]
        raise RuntimeError("no")


def test_an_exception_is_told_by_its_text_its_class_and_its_traceback():
    failure = describe(caught(refuse))

    assert ("refused", "ConnectionError") == (failure.error, failure.error_type)
    assert failure.stacktrace.startswith("Traceback (most recent call last):\n")
    assert failure.stacktrace.endswith('raise ConnectionError("refused")\nConnectionError: refused\n')


def test_the_traceback_begins_with_the_task_function_however_deep_it_is_called():
    namespace: dict[str, Any] = {"__package__": "taskflow.execution.running"}
    exec("def call(work): work()\ndef call_deeper(work): call(work)", namespace)
    exc = caught(lambda: namespace["call_deeper"](lambda: namespace["call"](refuse)))
    while exc.__traceback__ is not None and exc.__traceback__.tb_frame.f_code.co_name != "call_deeper":
        exc.__traceback__ = exc.__traceback__.tb_next  # this test's own frames

    functions = re.findall(r", in (\S+)", describe(exc).stacktrace)
    assert ["<lambda>", "call", "refuse"] == functions


def test_a_long_text_and_a_long_traceback_are_cut_in_the_middle():
    failure = describe(ValueError("a" + "ß" * STACKTRACE_BYTES + "z"))

    for text, end in ((failure.error, "z"), (failure.stacktrace, "z\n")):
        assert text.endswith(end)
        assert "… cut …" in text
        assert len(text.encode()) <= STACKTRACE_BYTES + 100


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            UnreadableError,
            ("<UnreadableError.__str__ raised SystemExit>", f"{__name__}.UnreadableError"),
        ),
        (NoTextError, ("<NoTextError.__str__ raised TypeError>", f"{__name__}.NoTextError")),
        (OddTextError, ("odd", f"{__name__}.OddTextError")),
        (lambda: HostileError("no way"), ("no way", f"{__name__}.HostileError")),
        (lambda: NamelessError("who?"), ("who?", f"{__name__}.NamelessError")),
    ],
    ids=["text raises", "text is none", "text of its own kind", "attributes raise", "class raises"],
)
def test_an_exception_that_cannot_be_formatted_is_told_by_its_type(
    make: Callable[[], BaseException], expected: tuple[str, str]
):
    def fail():
        raise make()

    failure = describe(caught(fail))

    assert expected == (failure.error, failure.error_type)
    assert "in fail\n" in failure.stacktrace
    assert type(failure.error) is type(failure.error_type) is type(failure.stacktrace) is str


def test_a_class_whose_module_is_no_text_is_told_by_its_name():
    odd = type("Odd", (Exception,), {"__module__": 5})
    gone = eval("type('Gone', (Exception,), {})", {"__builtins__": {"type": type, "Exception": Exception}})
    unspeakable = type("Odd", (Exception,), {"__module__": "a\0b\ud800"})

    assert ["Odd", "Gone", "a\ufffdb?.Odd"] == [
        describe(kind()).error_type for kind in (odd, gone, unspeakable)
    ]


def test_a_group_is_told_by_its_leaves():
    group = ExceptionGroup("two", [OSError("away"), ExceptionGroup("inner", [ValueError("no")])])

    assert (
        "two (2 sub-exceptions): OSError: away; ValueError: no",
        "ExceptionGroup[OSError, ValueError]",
    ) == _told(group)


def test_a_group_whose_leaves_are_of_one_class_has_that_class():
    group = BaseExceptionGroup("jobs", [OSError("a"), OSError("b")])

    assert ("jobs (2 sub-exceptions): OSError: a; OSError: b", "OSError") == _told(group)


def test_a_group_of_many_is_told_by_the_first_of_them():
    kinds = [type(name, (Exception,), {"__module__": "builtins"}) for name in ("D", "C", "B", "A")]
    group = ExceptionGroup("many", [kinds[n % 4](n) for n in range(LEAVES + 5)])
    error, error_type = _told(group)

    assert "ExceptionGroup[A, B, C, …]" == error_type
    assert error.startswith("many (15 sub-exceptions): D: 0; C: 1; ")
    assert error.endswith("; C: 9; and 5 more")


def test_a_long_text_in_a_group_leaves_room_for_the_others():
    group = ExceptionGroup("", [ValueError("a" * 10_000), OSError("away")])

    assert f" (2 sub-exceptions): ValueError: {'a' * LEAF_TEXT}; OSError: away" == _told(group)[0]


def test_a_group_of_hostile_exceptions_is_told_by_their_types():
    group = HostileErrorGroup("odd", [UnreadableError(), HostileError("x")])
    error, error_type = _told(group)

    assert (
        f"odd (2 sub-exceptions): {__name__}.UnreadableError: <UnreadableError.__str__ raised SystemExit>"
        in error
    )
    assert f"{__name__}.HostileErrorGroup[{__name__}.HostileError, {__name__}.UnreadableError]" == error_type


def test_a_group_nested_deeper_than_python_can_print_is_told():
    group: ExceptionGroup[Exception] = ExceptionGroup("innermost", [OSError("away")])
    for _ in range(5_000):
        group = ExceptionGroup("outer", [group])

    assert ("outer (1 sub-exception): OSError: away", "OSError") == _told(group)


def test_ctrl_c_goes_through():
    class InterruptedReadingError(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe(InterruptedReadingError())


def _told(exc: BaseException) -> tuple[str, str]:
    failure = describe(exc)
    return failure.error, failure.error_type


# ---- the log ----


@pytest.fixture
def logger():
    logger = logging.Logger("test_failure")  # noqa: LOG001  # known to nobody else, so it needs no undoing
    logger.addHandler(logging.NullHandler())
    return logger


def test_a_failure_is_logged_with_its_traceback_and_the_callers_place(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
):
    logger.addHandler(caplog.handler)
    exc = caught(refuse)
    log_failure(logger, logging.ERROR, exc, "task %s failed", "send")
    record = caplog.records[-1]

    assert "task send failed" == record.getMessage()
    assert (ConnectionError, exc) == (record.exc_info or ())[:2]
    assert __file__ == record.pathname


def test_an_exception_that_no_handler_could_format_is_logged_as_text(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
):
    logger.addHandler(caplog.handler)
    log_failure(logger, logging.ERROR, HostileError("no way"), "task %s failed", "send")
    message = caplog.records[-1].getMessage()

    assert message.startswith(f"task send failed\n{__name__}.HostileError: no way\n(and no more: ")
    assert caplog.records[-1].exc_info is None


@pytest.mark.parametrize("raised", [ValueError, SystemExit, UnreadableError])
def test_a_filter_that_raises_is_told_on_stderr_and_goes_no_further(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], raised: type[BaseException]
):
    def look(record: logging.LogRecord) -> bool:
        raise raised

    logger.addFilter(look)
    log_failure(logger, logging.ERROR, ValueError("no"), "task %s failed", "send")
    told = capsys.readouterr().err

    assert "--- Logging error ---" in told
    assert "in look" in told
    assert raised.__name__ in told
    assert "Message: 'task %s failed'\nArguments: ('send',)" in told


def test_a_filter_that_raises_is_not_told_where_logging_is_told_to_be_quiet(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.addFilter(lambda record: 1 / 0 > 1)
    log_failure(logger, logging.ERROR, ValueError("no"), "task failed")

    assert "" == capsys.readouterr().err


def test_a_filter_that_raises_where_there_is_no_stderr_changes_nothing(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    logger.addFilter(lambda record: 1 / 0 > 1)

    log_failure(logger, logging.ERROR, ValueError("no"), "task failed")


def test_ctrl_c_in_a_filter_goes_through(logger: logging.Logger):
    def look(record: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    logger.addFilter(look)
    with pytest.raises(KeyboardInterrupt):
        log_failure(logger, logging.ERROR, ValueError("no"), "task failed")


def test_what_nobody_wants_to_read_is_not_made(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch):
    class ExpensiveError(Exception):
        def __str__(self) -> str:
            raise AssertionError("it was formatted")

    logger.setLevel(logging.CRITICAL)
    log_failure(logger, logging.ERROR, ExpensiveError(), "task failed")


# ---- tasks ----


@pytest.mark.parametrize("error", [UnreadableError, HostileError], ids=["text raises", "attributes raise"])
async def test_a_task_that_raises_what_cannot_be_described_has_failed(error: type[Exception]):
    manager = TaskManager(handle_signals=False)

    async def fail() -> None:
        raise error

    async with manager:
        task_id = manager.enqueue(fail)
        await manager.drain()
    record = manager.store.get(task_id)

    assert record is not None
    assert ("failed", f"{__name__}.{error.__name__}") == (record.status, record.error_type)


async def test_a_filter_of_the_log_that_raises_changes_nothing_of_what_becomes_of_a_task(
    capsys: pytest.CaptureFixture[str],
):
    manager = TaskManager(handle_signals=False)
    runs: list[int] = []

    @manager.task(retries=1)
    async def fail() -> None:
        runs.append(1)
        raise ValueError("no")

    def look(record: logging.LogRecord) -> bool:
        raise LookupError

    taskflow_logger = logging.getLogger("taskflow")
    taskflow_logger.addFilter(look)
    try:
        async with manager:
            task_id = manager.enqueue(fail)
            await manager.drain()
    finally:
        taskflow_logger.removeFilter(look)
    record = manager.store.get(task_id)

    assert record is not None
    assert (2, "failed", "no") == (len(runs), record.status, record.error)
    assert "LookupError" in capsys.readouterr().err
