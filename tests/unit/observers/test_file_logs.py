"""docs/file-logs.md says what the lines really are."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.models import TaskStatus
from taskflow.core.spans import SpanIds
from taskflow.observers.formatting import FORMATS, OPTIONAL_KEYS
from tests.processes import ROOT

PAGE = (ROOT / "docs/file-logs.md").read_text(encoding="utf-8")
NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
OF_THE_TASK = {
    "task_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "func_name": "send_email",
    "tags": {"reason": "sign-up"},
    "span": SpanIds("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True),
}

EVENTS = [
    LifecycleEvent(
        **OF_THE_TASK, status=TaskStatus.RUNNING, timestamp=NOON, queue_duration=0.000912, slot_wait=0.0
    ),
    LogEvent(
        **OF_THE_TASK,
        message="2 of 3 accepted",
        level="warning",
        timestamp=NOON + timedelta(seconds=1),
        extra={"refused": ["ada@example.com"]},
    ),
    LifecycleEvent(
        **OF_THE_TASK,
        status=TaskStatus.RETRYING,
        timestamp=NOON + timedelta(seconds=1.5),
        max_retries=3,
        next_delay=2.0,
        attempt_duration=1.500104,
        error="refused",
        error_type="smtplib.SMTPServerDisconnected",
        stacktrace="Traceback (most recent call last): ...",
    ),
]


def lines(format: str) -> str:
    return "".join(
        FORMATS[format].log(event) if isinstance(event, LogEvent) else FORMATS[format].lifecycle(event)
        for event in EVENTS
    )


def code_block(language: str) -> str:
    """The first one of the page in this language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_lines_of_text_are_what_is_written() -> None:
    assert code_block("text") == lines("text")


def test_the_lines_of_json_are_what_is_written() -> None:
    assert code_block("json") == lines("json")


def test_the_table_of_fields_has_those_of_every_line_and_those_that_may_be_missing() -> None:
    always = json.loads(FORMATS["json"].log(EVENTS[1]))
    section = PAGE.partition("## JSON")[2].partition("\n## ")[0]

    assert [*always, *OPTIONAL_KEYS] == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
