"""What the tasks say that they did: in a file that no part of Taskflow writes or reads."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from taskflow import get_task_context


@dataclass(frozen=True)
class Deed:
    """Something that a task did.

    Attributes:
        task_id, attempt: of the task.
        pid: in which process.
        what: ``begin``, ``end`` or ``fail``.
        number: what its argument says.
    """

    task_id: str
    attempt: int
    pid: int
    what: str
    number: int


class Witness:
    """Takes down what tasks of this process do. SIGKILL loses nothing of it: the system has it already."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, number: int) -> None:
        """Write one line, at once and whole; inside the task."""
        context = get_task_context()
        assert context is not None
        line = f"{context.task_id} {context.attempt} {os.getpid()} {what} {number}\n"
        os.write(self._file, line.encode())


def deeds(path: Path) -> dict[str, list[Deed]]:
    """What each task did, in order."""
    found = defaultdict(list)
    for line in path.read_text().splitlines():
        task_id, attempt, pid, what, number = line.split()
        found[task_id].append(Deed(task_id, int(attempt), int(pid), what, int(number)))
    return found
