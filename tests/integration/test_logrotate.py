from __future__ import annotations

import asyncio
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from taskflow.observers.base import LogEvent
from taskflow.observers.file import FileLogger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROTATIONS = 15

CONFIGURATION = """
{path} {{
    rotate 100
    create
    nocompress
    missingok
}}
"""


def log_line(logger: FileLogger, message: str, written: list[str]) -> None:
    event = LogEvent(task_id="1", func_name="f", message=message, level="info", timestamp=NOW)
    logger.on_log(event)
    written.append(message)


def keep_logging(logger: FileLogger, thread: int, stop: threading.Event, written: list[str]) -> None:
    """Log numbered lines, about 10,000 a second, until told to stop."""
    while not stop.wait(0.005):
        for _ in range(50):
            log_line(logger, f"{thread}-{len(written)}", written)


async def test_no_line_is_lost_or_doubled_while_logrotate_moves_the_file(
    tmp_path: Path, executable: Callable[[str], Path]
) -> None:
    logrotate = executable("logrotate")
    logs = tmp_path / "logs"
    logs.mkdir()
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(CONFIGURATION.format(path=logs / "app.log"))
    command = [logrotate, "--force", "--state", tmp_path / "state", configuration]
    logger = FileLogger(logs / "app.log", mode="watched")
    stop = threading.Event()
    written: list[list[str]] = [[], [], []]
    threads = [threading.Thread(target=keep_logging, args=(logger, n, stop, written[n])) for n in range(2)]
    for thread in threads:
        thread.start()
    for number in range(ROTATIONS):
        log_line(logger, f"main-{number}", written[2])
        await logger.flush()  # so that there is a file with something in it to move
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    stop.set()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await logger.close()

    files = list(logs.iterdir())
    found = Counter(line.rsplit(" ", 1)[1] for file in files for line in file.read_text().splitlines())
    assert len(files) > ROTATIONS
    assert found == Counter(chain.from_iterable(written))
    assert (logger.dropped, logger.write_errors) == (0, 0)
