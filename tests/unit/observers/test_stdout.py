from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from taskflow.core.events import LEVELS, LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.observers.stdout import StdoutLogger

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def log_event(message: str = "hello", level: str = "info") -> LogEvent:
    return LogEvent(task_id="12345678-9", func_name="f", message=message, level=level, timestamp=NOW)


RUNNING = LifecycleEvent(task_id="12345678-9", func_name="f", status=TaskStatus.RUNNING, timestamp=NOW)


async def test_lines_go_to_what_stdout_is_when_they_are_written(monkeypatch):
    logger = StdoutLogger()
    first, second = io.StringIO(), io.StringIO()
    for stream, message in ((first, "one"), (second, "two")):
        monkeypatch.setattr(sys, "stdout", stream)
        logger.on_log(log_event(message))
        await logger.flush()
    await logger.close()

    assert first.getvalue() == "[12345678] [f] 2026-01-01T12:00:00 one\n"
    assert second.getvalue() == "[12345678] [f] 2026-01-01T12:00:00 two\n"


async def test_lifecycle_lines_are_written_on_request_only():
    quiet, chatty = io.StringIO(), io.StringIO()
    for logger in (StdoutLogger(stream=quiet), StdoutLogger(stream=chatty, log_lifecycle=True)):
        logger.on_lifecycle(RUNNING)
        await logger.close()

    assert (quiet.getvalue(), chatty.getvalue()) == ("", "[12345678] [f] 2026-01-01T12:00:00 -- RUNNING\n")


async def test_lines_below_the_level_are_left_out():
    stream = io.StringIO()
    logger = StdoutLogger(stream=stream, min_level="warning", format="json")
    for level in LEVELS:
        logger.on_log(log_event(level=level))
    await logger.close()

    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == ["warning", "error"]


async def test_a_character_that_the_stream_does_not_have_does_not_lose_the_line():
    raw = io.BytesIO()
    logger = StdoutLogger(stream=io.TextIOWrapper(raw, encoding="latin-1", write_through=True))
    logger.on_log(log_event("é 東"))
    await logger.close()

    assert raw.getvalue().decode("latin-1") == "[12345678] [f] 2026-01-01T12:00:00 é \\u6771\n"


async def test_a_broken_stream_is_counted_and_its_lines_come_when_it_works_again():
    class Pipe(io.StringIO):
        broken = True

        def write(self, text: str) -> int:
            if self.broken:
                raise BrokenPipeError
            return super().write(text)

    pipe = Pipe()
    logger = StdoutLogger(stream=pipe)
    logger.on_log(log_event("one"))
    await logger.flush()
    errors = logger.write_errors
    pipe.broken = False
    logger.on_log(log_event("two"))
    await logger.close()

    assert errors > 0
    assert [line.split()[-1] for line in pipe.getvalue().splitlines()] == ["one", "two"]
    assert logger.dropped == 0


async def test_lines_that_no_one_could_take_are_counted_at_close():
    logger = StdoutLogger(stream=io.StringIO())
    stream = io.StringIO()
    stream.close()
    logger = StdoutLogger(stream=stream)
    logger.on_log(log_event("one"))
    logger.on_log(log_event("two"))
    await logger.close()

    assert (logger.dropped, logger.write_errors > 0) == (2, True)


@pytest.mark.parametrize(
    "options", [{"format": "xml"}, {"min_level": "loud"}, {"log_lifecycle": "no"}, {"stream": "stdout"}]
)
def test_a_wrong_option_is_named(options):
    [(parameter, value)] = options.items()
    with pytest.raises(ConfigurationError) as caught:
        StdoutLogger(**options)

    assert (caught.value.parameter, caught.value.value) == (parameter, value)
