from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskflow.core.events import LEVELS, LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.observers.memory import InMemoryLogger

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def log_event(level: str = "info") -> LogEvent:
    return LogEvent(task_id="1", func_name="f", message=level, level=level, timestamp=NOW)


def test_it_keeps_every_event_in_order():
    logger = InMemoryLogger()
    lines = [log_event(level) for level in LEVELS]
    states = [
        LifecycleEvent(task_id="1", func_name="f", status=status, timestamp=NOW) for status in TaskStatus
    ]
    for line in lines:
        logger.on_log(line)
    for state in states:
        logger.on_lifecycle(state)

    assert (logger.log_events, logger.lifecycle_events) == (lines, states)


def test_it_leaves_out_lines_below_its_level():
    logger = InMemoryLogger("warning")
    for level in LEVELS:
        logger.on_log(log_event(level))

    assert [event.level for event in logger.log_events] == ["warning", "error"]


def test_clear_empties_the_lists_that_a_test_may_already_hold():
    logger = InMemoryLogger()
    held = logger.log_events
    logger.on_log(log_event())
    logger.on_lifecycle(LifecycleEvent(task_id="1", func_name="f", status=TaskStatus.RUNNING, timestamp=NOW))
    logger.clear()

    assert (held, logger.lifecycle_events) == ([], [])
    assert held is logger.log_events


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigurationError, match="min_level='loud': must be one of 'debug', 'info'"):
        InMemoryLogger("loud")
