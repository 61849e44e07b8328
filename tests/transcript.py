"""A page that shows a terminal: what it types is done, and what it shows must be seen."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.processes import ROOT, ServerProcess, eventually, uvicorn_process

BLOCKS = re.compile(r"^```(console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIFFERENT = "…"
"""Stands in a page for what is different each time."""


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """What a page types, and the lines that it shows afterwards; what the server says has no command."""
    for kind, block in BLOCKS.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            yield "", block.splitlines()
            continue
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = typed.splitlines()
            yield command, shown


class Reader:
    """Somebody who has two terminals, and does in them what a page says.

    Args:
        folder: for the tasks, and for what the server says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._life = ExitStack()
        self._server: ServerProcess | None = None

    @property
    def server(self) -> ServerProcess:
        """The server in the first terminal."""
        assert self._server is not None, "the page has not started a server yet"
        return self._server

    def follow(self, page: Path) -> int:
        """Do everything that a page says, and return how many things it showed."""
        with self._life:
            return sum(self._do(command, shown) for command, shown in commands(page))

    def _do(self, command: str, shown: list[str]) -> int:
        if not command:
            for line in shown:
                see(line, lambda: self.server.output, anywhere=True)
            return len(shown)
        program = command.split(maxsplit=1)[0]
        {"curl": self._ask, ".venv-demo/bin/uvicorn": self._start, "kill": self._kill}[program](
            command, shown
        )
        return len(shown)

    def _start(self, command: str, _shown: list[str]) -> None:
        _, option, app_dir, app = shlex.split(command)
        assert option == "--app-dir"
        environment = {"PYTHONPATH": str(ROOT / app_dir), "TASKS_DB": str(self._folder / "tasks.db")}
        self._server = self._life.enter_context(uvicorn_process(app, self._folder, environment=environment))

    def _kill(self, command: str, _shown: list[str]) -> None:
        assert command == "kill -9 12345", "the reader puts the number of the process there"
        self.server.process.kill()
        self.server.wait()

    def _ask(self, command: str, shown: list[str]) -> None:
        if "-X POST" in command:  # once, other than a question
            answer = curl(command, self.server.url)
            see(shown[0], lambda: answer)
        else:
            see(shown[0], lambda: curl(command, self.server.url))


def curl(command: str, base_url: str) -> str:
    """What curl would print, with the port of the test's server instead of the page's."""
    request, _, pattern = command.partition(" | grep ")
    parser = argparse.ArgumentParser()
    parser.add_argument("curl")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("url")
    given = parser.parse_args(shlex.split(request))
    url = given.url.replace("http://127.0.0.1:8000", base_url)
    headers = dict(header.split(": ", 1) for header in given.H)
    text = httpx.request(given.X, url, headers=headers).text
    wanted = shlex.split(pattern)
    return "\n".join(line for line in text.splitlines() if not wanted or wanted[0] in line)


def see(line: str, look: Callable[[], str], *, anywhere: bool = False) -> None:
    """Return when what a page shows is there: as the whole, or as a part of what one looks at."""
    pattern = re.compile(".*?".join(map(re.escape, line.split(DIFFERENT))), re.DOTALL)
    compare = pattern.search if anywhere else pattern.fullmatch
    last = ""

    def found() -> object:
        nonlocal last
        last = look()
        return compare(last)

    try:
        eventually(found)
    except AssertionError:
        raise AssertionError(f"the page shows\n{line}\nand there is\n{last}") from None
