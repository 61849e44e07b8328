from __future__ import annotations

import asyncio
import json
import logging
import logging.config
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskflow.core.events import LEVELS, LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.observers import writer as writer_module
from taskflow.observers.chain import LoggerChain
from taskflow.observers.file import FileLogger, WatchedFile, resolve_path

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[3]


def log_event(message: str = "hello", **fields: Any) -> LogEvent:
    return LogEvent(
        **{"task_id": "12345678-9", "func_name": "f", "level": "info", "timestamp": NOW, **fields},
        message=message,
    )


def messages(*files: Path) -> list[str]:
    """The messages of text lines, in order."""
    return [line.split(" ", 3)[3] for file in files for line in file.read_text().splitlines()]


async def write(logger: FileLogger, *texts: str) -> None:
    for text in texts:
        logger.on_log(log_event(text))
    await logger.flush()


def writer_threads(file: Path) -> int:
    return sum(thread.name == f"taskflow-log {file}" for thread in threading.enumerate())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the doing of another thread, which has no event to await."""
    while not condition():  # noqa: ASYNC110 - pytest-timeout ends it if that never comes
        await asyncio.sleep(0.01)


def has(file: Path, expected: list[str]) -> bool:
    return file.exists() and messages(file) == expected


# ---- lines ----


async def test_lines_are_in_the_file_after_a_flush(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    await write(logger, "one", "two")

    assert (tmp_path / "app.log").read_text() == (
        "[12345678] [f] 2026-01-01T12:00:00 one\n[12345678] [f] 2026-01-01T12:00:00 two\n"
    )
    await logger.close()


async def test_a_message_with_newlines_and_escape_codes_is_one_line(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    await write(logger, "first\nsecond\x1b[31m")
    await logger.close()

    assert (tmp_path / "app.log").read_text().splitlines() == [
        "[12345678] [f] 2026-01-01T12:00:00 first\\nsecond\\x1b[31m"
    ]


async def test_states_are_written_with_log_lifecycle_only(tmp_path):
    event = LifecycleEvent(task_id="12345678-9", func_name="f", status=TaskStatus.RUNNING, timestamp=NOW)
    for name, log_lifecycle in (("quiet.log", False), ("chatty.log", True)):
        logger = FileLogger(tmp_path / name, log_lifecycle=log_lifecycle)
        logger.on_lifecycle(event)
        await logger.close()

    assert not (tmp_path / "quiet.log").exists()
    assert messages(tmp_path / "chatty.log") == ["-- RUNNING"]


async def test_lines_below_the_level_are_left_out(tmp_path):
    logger = FileLogger(tmp_path / "app.log", min_level="warning", format="json")
    for level in LEVELS:
        logger.on_log(log_event(level=level))
    await logger.close()

    lines = (tmp_path / "app.log").read_text().splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["warning", "error"]


async def test_a_line_appears_without_a_flush(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    logger.on_log(log_event("one"))
    await until(lambda: has(tmp_path / "app.log", ["one"]))
    await logger.close()


async def test_no_file_is_opened_on_the_calling_thread(tmp_path, monkeypatch):
    threads = set()
    append = WatchedFile.append

    def recording(self: Any, lines: list[str]) -> None:
        threads.add(threading.current_thread())
        append(self, lines)

    monkeypatch.setattr(WatchedFile, "append", recording)
    logger = FileLogger(tmp_path / "app.log")
    await write(logger, "one")
    await logger.close()

    assert threads
    assert threading.current_thread() not in threads


async def test_an_event_that_breaks_its_contract_costs_only_its_own_line(tmp_path):
    chain = LoggerChain([FileLogger(tmp_path / "app.log", format="json")])
    for message in ("one", 2, "three"):
        chain.on_log(log_event(message))  # type: ignore[arg-type]
    await chain.close()

    lines = (tmp_path / "app.log").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["one", "three"]
    assert [stats.errors for stats in chain.stats()] == [1]


# ---- life ----


async def test_close_writes_everything_and_ends_the_thread(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    logger.on_log(log_event("one"))
    started = writer_threads(tmp_path / "app.log")
    await logger.close()
    written = messages(tmp_path / "app.log")
    await until(lambda: writer_threads(tmp_path / "app.log") == 0)

    assert (started, written) == (1, ["one"])


async def test_a_line_after_close_is_still_written(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    await write(logger, "one")
    await logger.close()
    await write(logger, "late")
    await logger.close()

    assert messages(tmp_path / "app.log") == ["one", "late"]


async def test_a_logger_starts_again_after_close(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    for run in ("first", "second"):
        await logger.startup()
        await write(logger, run)
        await logger.close()

    assert messages(tmp_path / "app.log") == ["first", "second"]


async def test_closing_a_logger_that_never_wrote_makes_no_file_and_no_thread(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    await logger.startup()
    await logger.close()

    assert list(tmp_path.iterdir()) == []
    assert writer_threads(tmp_path / "app.log") == 0


async def test_a_quiet_writer_ends_its_thread_and_starts_again(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "QUIET_PASSES", 1)
    logger = FileLogger(tmp_path / "app.log")
    await write(logger, "one")
    await until(lambda: writer_threads(tmp_path / "app.log") == 0)
    await write(logger, "two")
    await logger.close()

    assert messages(tmp_path / "app.log") == ["one", "two"]


async def test_giving_up_on_a_flush_does_not_hurt_the_writer(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    logger.on_log(log_event("one"))
    flush = asyncio.ensure_future(logger.flush())
    await asyncio.sleep(0)
    flush.cancel()
    await write(logger, "two")
    await logger.close()

    assert messages(tmp_path / "app.log") == ["one", "two"]


async def test_reconfiguring_standard_logging_does_not_stop_the_file(tmp_path):
    logger = FileLogger(tmp_path / "app.log")
    await write(logger, "one")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})  # closes every handler
    await write(logger, "two")
    await logger.close()

    assert messages(tmp_path / "app.log") == ["one", "two"]


def run_script(folder: Path, script: str) -> None:
    preamble = """
        import os, sys
        from datetime import UTC, datetime
        from taskflow.core.events import LogEvent
        from taskflow.observers.file import FileLogger

        def line(message):
            return LogEvent(task_id="12345678-9", func_name="f", message=message, level="info",
                            timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    """
    code = textwrap.dedent(preamble) + textwrap.dedent(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, timeout=60)


def test_the_last_lines_of_a_script_are_not_lost(tmp_path):
    run_script(tmp_path, "FileLogger('app.log').on_log(line('last words'))")

    assert messages(tmp_path / "app.log") == ["last words"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_writes_its_own_lines_once(tmp_path):
    run_script(
        tmp_path,
        """
        shared, own = FileLogger("shared.log"), FileLogger("own-{pid}.log")
        for logger in (shared, own):
            logger.on_log(line("parent"))
        pid = os.fork()
        if pid == 0:
            for logger in (shared, own):
                logger.on_log(line("child"))
            open("child", "w").write(own.path)
            sys.exit()
        _, status = os.waitpid(pid, 0)
        assert status == 0
        open("parent", "w").write(own.path)
        """,
    )
    own = [Path((tmp_path / name).read_text()) for name in ("parent", "child")]

    assert Counter(messages(tmp_path / "shared.log")) == {"parent": 1, "child": 1}
    assert [messages(path) for path in own] == [["parent"], ["child"]]


# ---- rotation ----


async def test_files_rotate_by_size_and_lose_or_split_no_line(tmp_path):
    logger = FileLogger(tmp_path / "app.log", max_bytes=20_000, backup_count=100)
    expected = [f"{thread}-{number} " + "é" * (number % 50) for thread in range(6) for number in range(1_500)]
    threads = [
        threading.Thread(target=lambda part=expected[n::6]: [logger.on_log(log_event(m)) for m in part])
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await logger.close()

    files = list(tmp_path.iterdir())
    assert len(files) > 10
    assert Counter(messages(*files)) == Counter(expected)
    assert max(file.stat().st_size for file in files) < 20_000
    assert logger.dropped == 0


async def test_backups_are_numbered_from_the_newest_and_the_oldest_go(tmp_path):
    logger = FileLogger(tmp_path / "app.log", max_bytes=50, backup_count=2)
    for number in range(5):
        await write(logger, str(number))
    await logger.close()

    assert {file.name: messages(file) for file in tmp_path.iterdir()} == {
        "app.log": ["4"],
        "app.log.1": ["3"],
        "app.log.2": ["2"],
    }


async def test_a_line_longer_than_a_file_has_a_file_of_its_own(tmp_path):
    logger = FileLogger(tmp_path / "app.log", max_bytes=100, backup_count=5)
    await write(logger, "x" * 500, "short", "y" * 500)
    await logger.close()

    assert {file.name: messages(file) for file in tmp_path.iterdir()} == {
        "app.log": ["y" * 500],
        "app.log.1": ["short"],
        "app.log.2": ["x" * 500],
    }


async def test_without_backups_the_file_grows_as_in_the_standard_library(tmp_path):
    logger = FileLogger(tmp_path / "app.log", max_bytes=10, backup_count=0)
    await write(logger, "one", "two")
    await logger.close()

    assert messages(*tmp_path.iterdir()) == ["one", "two"]


async def test_a_file_that_is_there_already_is_appended_to_and_counts_for_the_size(tmp_path):
    for text in ("one", "two"):
        logger = FileLogger(tmp_path / "app.log", max_bytes=60, backup_count=1)
        await write(logger, text)
        await logger.close()

    assert messages(tmp_path / "app.log.1", tmp_path / "app.log") == ["one", "two"]


@pytest.mark.parametrize("mode", ["rotate", "watched"])
async def test_a_file_that_was_moved_away_is_made_again(tmp_path, mode):
    logger = FileLogger(tmp_path / "app.log", mode=mode)
    await write(logger, "one")
    (tmp_path / "app.log").rename(tmp_path / "moved.log")
    await write(logger, "two")
    await logger.close()

    assert messages(tmp_path / "moved.log", tmp_path / "app.log") == ["one", "two"]


# ---- trouble ----


@pytest.mark.parametrize("mode", ["rotate", "watched"])
async def test_lines_for_a_folder_that_vanished_are_kept_until_it_is_back(tmp_path, caplog, mode):
    folder = tmp_path / "logs"
    folder.mkdir()
    logger = FileLogger(folder / "app.log", mode=mode)
    await write(logger, "before")
    shutil.rmtree(folder)
    await write(logger, "during")
    errors = logger.write_errors
    await write(logger, "still")
    folder.mkdir()
    await until(lambda: has(folder / "app.log", ["during", "still"]))
    await logger.close()

    assert errors > 0
    assert logger.dropped == 0
    assert [record.name for record in caplog.records].count("taskflow.observers") == 1
    assert f"cannot write to {folder / 'app.log'}" in caplog.text


async def test_lines_beyond_the_buffer_are_dropped_and_counted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writer_module, "BUFFER_LIMIT", 3)
    folder = tmp_path / "logs"
    folder.mkdir()
    logger = FileLogger(folder / "app.log")
    folder.rmdir()
    await write(logger, "held")  # rendered, and tried again from now on
    await write(logger, "0", "1", "2", "3", "4")
    dropped = logger.dropped
    folder.mkdir()
    await until(lambda: has(folder / "app.log", ["held", "0", "1", "2"]))
    await logger.close()

    assert dropped == 2
    assert "2 log lines" in caplog.text


async def test_close_does_not_wait_for_a_folder_that_never_comes_back(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    logger = FileLogger(folder / "app.log")
    folder.rmdir()
    await write(logger, "one", "two")
    await logger.close()

    assert logger.dropped == 2


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB; mounting one takes privileges that a laptop's tests do not have."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_full_disk_splits_no_line_and_writing_resumes_when_there_is_room(tiny_disk):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    logger = FileLogger(tiny_disk / "app.log")
    expected = [f"{number} " + "y" * 50 for number in range(500)]
    await write(logger, *expected)
    errors, text_when_full = logger.write_errors, (tiny_disk / "app.log").read_text()
    ballast.unlink()
    await until(lambda: has(tiny_disk / "app.log", expected))
    await logger.close()

    assert errors > 0
    assert text_when_full.endswith("y\n")
    assert 0 < len(text_when_full.splitlines()) < 500
    assert logger.dropped == 0


# ---- sharing ----


async def test_loggers_of_one_file_share_its_writer(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    one = FileLogger(tmp_path / "app.log", max_bytes=2_000, backup_count=50)
    two = FileLogger(tmp_path / "link" / "app.log", max_bytes=2_000, backup_count=50, format="json")
    for number in range(100):
        one.on_log(log_event(str(number)))
        two.on_log(log_event(str(number)))
    threads = writer_threads(tmp_path / "app.log")
    await one.close()
    await two.close()

    lines = [line for file in tmp_path.glob("app.log*") for line in file.read_text().splitlines()]
    assert (one.path, threads, len(lines)) == (two.path, 1, 200)


async def test_closing_one_logger_of_a_file_leaves_the_other_working(tmp_path):
    one, two = FileLogger(tmp_path / "app.log"), FileLogger(tmp_path / "app.log")
    await write(one, "one")
    await one.close()
    await write(two, "two")
    await two.close()

    assert messages(tmp_path / "app.log") == ["one", "two"]


@pytest.mark.parametrize("settings", [{"max_bytes": 7}, {"backup_count": 1}, {"mode": "watched"}])
async def test_loggers_of_one_file_must_agree_on_its_rotation(tmp_path, settings):
    first = FileLogger(tmp_path / "app.log")
    with pytest.raises(ConfigurationError, match="as in the other FileLogger on") as caught:
        FileLogger(tmp_path / "app.log", **settings)
    await first.close()
    second = FileLogger(tmp_path / "app.log", **settings)  # the file is free again

    assert {caught.value.parameter: caught.value.value} == settings
    with pytest.raises(ConfigurationError, match=f"as in the other FileLogger on {second.path}"):
        await first.startup()


# ---- options ----


def test_path_is_the_resolved_path_with_the_process_id_filled_in(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert FileLogger("link/app-{pid}-{x}.log").path == str(tmp_path / f"app-{os.getpid()}-{{x}}.log")
    assert resolve_path("./link/app-{pid}-{x}.log") == str(tmp_path / f"app-{os.getpid()}-{{x}}.log")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 0}, "max_bytes=0: must be a whole number, at least 1"),
        ({"max_bytes": 1.5}, "max_bytes=1.5: must be a whole number, at least 1"),
        ({"backup_count": -1}, "backup_count=-1: must be a whole number, at least 0"),
        ({"mode": "copy"}, "mode='copy': must be one of 'rotate', 'watched'"),
        ({"format": "xml"}, "format='xml': must be one of 'text', 'json'"),
        ({"min_level": "all"}, "min_level='all': must be one of 'debug', 'info', 'warning', 'error'"),
        ({"log_lifecycle": 1}, "log_lifecycle=1: must be True or False"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(tmp_path, options, message):
    with pytest.raises(ConfigurationError) as caught:
        FileLogger(tmp_path / "app.log", **options)

    assert str(caught.value) == message


@pytest.mark.parametrize("path", ["", "logs/", b"app.log", None, 3, "a\0b"])
def test_a_path_that_names_no_file_is_refused(path):
    with pytest.raises(ConfigurationError, match=r"path=.*must be the path of a file"):
        FileLogger(path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"the folder .*nowhere does not exist"):
        FileLogger(tmp_path / "nowhere" / "app.log")


def test_a_folder_a_pipe_and_an_impossible_name_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, problem in (
        (tmp_path, "regular file"),
        (tmp_path / "pipe", "regular file"),
        (tmp_path / ("x" * 300), "name too long"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            FileLogger(path)


@pytest.fixture
def closed_folder():
    """A folder that this process may read but not write, although it may be root's."""
    # Not tmp_path: pytest's own folders cannot even be entered by other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield Path(folder)
        if root:
            os.seteuid(0)


def test_a_file_that_may_not_be_written_is_refused(closed_folder):
    with pytest.raises(ConfigurationError, match=r"the folder .* is not writable for this process"):
        FileLogger(closed_folder / "app.log")
