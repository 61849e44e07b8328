from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from taskflow import FileLogger, OpenTelemetryObserver, TaskManager, task_log
from tests.logrotate import Logrotate, log_while_rotating
from tests.processes import eventually
from tests.rsyslog import Message, SyslogServer, running_rsyslog, syslog_server

LOCAL0 = 16 * 8


@dataclass(frozen=True)
class Place:
    """Where a test's files are, and what has arrived."""

    folder: Path
    server: SyslogServer

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def logger(self) -> FileLogger:
        return FileLogger(self.logs / "shop.log", mode="watched", format="json")

    def arrived(self, count: int) -> list[Message]:
        """The first messages, once there are so many."""
        eventually(lambda: len(self.server.messages) >= count)
        return self.server.messages[:count]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "logs").mkdir()
    with syslog_server() as server:
        yield Place(tmp_path, server)


@pytest.fixture
def rsyslogd(executable: Callable[[str], Path]) -> Path:
    return executable("rsyslogd")


async def log(logger: FileLogger, *messages: str) -> None:
    """Log from a task, and close the file."""

    def talk() -> None:
        for message in messages:
            task_log(message)

    manager = TaskManager(loggers=[logger])
    await manager.startup()
    manager.enqueue(talk)
    await manager.drain()
    await manager.shutdown()


def message_of(line: Message) -> str:
    return str(json.loads(line.text)["message"])


async def test_every_line_arrives_exactly_once_while_logrotate_moves_the_file(
    place: Place, rsyslogd: Path, executable: Callable[[str], Path]
) -> None:
    logrotate = Logrotate.of(executable("logrotate"), place.logs, place.folder)

    def has_arrived(message: str) -> bool:
        return place.server.has(f'"message":"{message}"')

    with running_rsyslog(rsyslogd, place.logs, place.server, place.folder):
        written = await log_while_rotating(place.logger(), logrotate, has_arrived=has_arrived)
        eventually(lambda: has_arrived("the last one"))

    assert Counter(written) == Counter(map(message_of, place.server.messages))


async def test_lines_from_before_a_restart_are_not_sent_again_and_those_of_the_meantime_are(
    place: Place, rsyslogd: Path
) -> None:
    with running_rsyslog(rsyslogd, place.logs, place.server, place.folder):
        await log(place.logger(), "before 1", "before 2")
        place.arrived(2)
    await log(place.logger(), "meanwhile 1", "meanwhile 2")
    with running_rsyslog(rsyslogd, place.logs, place.server, place.folder):
        place.arrived(4)
        await log(place.logger(), "after")
        place.arrived(5)

    expected = ["before 1", "before 2", "meanwhile 1", "meanwhile 2", "after"]
    assert expected == [message_of(message) for message in place.server.messages]


async def test_a_message_has_the_time_the_severity_and_the_ids_of_its_line(
    place: Place, rsyslogd: Path
) -> None:
    async def talk() -> None:
        for level in ("error", "warning", "info", "debug"):
            task_log("hello", level=level)

    logger = FileLogger(place.logs / "shop.log", mode="watched", format="json", min_level="debug")
    manager = TaskManager(loggers=[OpenTelemetryObserver(TracerProvider()), logger])
    await manager.startup()
    manager.enqueue(talk)
    await manager.shutdown()

    with running_rsyslog(rsyslogd, place.logs, place.server, place.folder):
        messages = place.arrived(4)

    lines = [json.loads(message.text) for message in messages]
    assert all(line["trace_id"] and line["span_id"] for line in lines)
    assert [
        Message(
            priority=LOCAL0 + severity,
            timestamp=line["timestamp"],
            app="shop",
            data='[taskflow@32473 task_id="{task_id}" trace_id="{trace_id}" span_id="{span_id}"]'.format(
                **line
            ),
            text=message.text,
        )
        for severity, line, message in zip((3, 4, 6, 7), lines, messages, strict=True)
    ] == messages


async def test_the_message_is_the_line_as_it_stands_in_the_file(place: Place, rsyslogd: Path) -> None:
    await log(place.logger(), 'a "quoted"\nword: Grüße 東京', "x" * 100_000)

    with running_rsyslog(rsyslogd, place.logs, place.server, place.folder):
        messages = place.arrived(2)

    assert (place.logs / "shop.log").read_text().splitlines() == [message.text for message in messages]


async def test_a_line_that_is_not_json_arrives_as_it_is(place: Place, rsyslogd: Path) -> None:
    (place.logs / "shop.log").write_text("Segmentation fault\n")

    with running_rsyslog(rsyslogd, place.logs, place.server, place.folder):
        (message,) = place.arrived(1)

    assert ("-", "Segmentation fault") == (message.data, message.text)
