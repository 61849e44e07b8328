from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from taskflow import FileLogger
from tests.logrotate import ROTATIONS, Logrotate, log_while_rotating


def messages_in(file: Path) -> list[str]:
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return [line.split(" ", 3)[3] for line in data.decode().splitlines()]


async def test_no_line_is_lost_or_doubled_while_logrotate_moves_the_file(
    tmp_path: Path, executable: Callable[[str], Path]
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    logger = FileLogger(logs / "shop.log", mode="watched")
    logrotate = Logrotate.of(executable("logrotate"), logs, tmp_path)

    written = await log_while_rotating(logger, logrotate)

    files = list(logs.iterdir())
    assert Counter(written) == Counter(message for file in files for message in messages_in(file))
    assert (logger.dropped, logger.write_errors) == (0, 0)
    assert sorted(
        ["shop.log", "shop.log.1", *(f"shop.log.{n}.gz" for n in range(2, ROTATIONS + 1))]
    ) == sorted(file.name for file in files)
