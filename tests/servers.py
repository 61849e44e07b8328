"""The servers that people run applications under, as processes with two workers where they have workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from tests.processes import PATIENCE, ROOT, eventually, free_port

__all__ = ["SERVERS", "Line", "Server", "Shop", "served"]

APP = "tests.integration.apps.servers_app:app"
BIN = Path(sys.executable).parent

COMMANDS: dict[str, list[str]] = {
    "uvicorn": ["uvicorn", APP, "--host=127.0.0.1", "--port={port}", "--workers=2"],
    "fastapi-run": [
        "fastapi",
        "run",
        "--entrypoint",
        APP,
        "--host=127.0.0.1",
        "--port={port}",
        "--workers=2",
    ],
    "granian": [
        "granian",
        APP,
        "--interface=asgi",
        "--host=127.0.0.1",
        "--port={port}",
        "--workers=2",
        "--workers-kill-timeout=5",
    ],
    "hypercorn": ["hypercorn", APP, "--bind=127.0.0.1:{port}", "--workers=2"],
    "gunicorn-uvicorn": ["gunicorn", APP, "-b127.0.0.1:{port}", "-w2", "-kuvicorn_worker.UvicornWorker"],
    "gunicorn-asgi": ["gunicorn", APP, "-b127.0.0.1:{port}", "-w2", "-kasgi"],
}
"""With two workers each."""

SERVERS = list(COMMANDS)

COMMANDS["hypercorn-http2"] = COMMANDS["hypercorn"]  # the same, but its clients speak HTTP/2
COMMANDS["granian-respawn"] = [*COMMANDS["granian"], "--respawn-failed-workers"]
COMMANDS["granian-lifetime"] = [*COMMANDS["granian"], "--workers-lifetime=60"]
COMMANDS["uvicorn-alone"] = ["uvicorn", APP, "--host=127.0.0.1", "--port={port}"]
COMMANDS["uvicorn-reload"] = [*COMMANDS["uvicorn-alone"], "--reload", "--reload-dir={folder}/code"]
COMMANDS["hypercorn-alone"] = ["hypercorn", APP, "--bind=127.0.0.1:{port}", "--workers=1"]
COMMANDS["daphne"] = ["daphne", "-b127.0.0.1", "-p{port}", APP]
for name in ("gunicorn-uvicorn", "gunicorn-asgi"):
    COMMANDS[name] += ["--no-control-socket"]
    COMMANDS[f"{name}-preload"] = [*COMMANDS[name], "--preload"]


WITH_TWO = {
    *SERVERS,
    "granian-lifetime",
    "granian-respawn",
    "gunicorn-asgi-preload",
    "gunicorn-uvicorn-preload",
    "hypercorn-http2",
}


class Line(NamedTuple):
    """What a task has noted."""

    event: str
    name: str
    task_id: str
    pid: int


@dataclass
class Server:
    """A server that runs, or has run, as processes of its own.

    Attributes:
        http2: whether its clients speak HTTP/2 with it, and without TLS.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    http2: bool = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8")

    def client(self) -> httpx.Client:
        """Sends requests to it, over connections that are closed with the client."""
        return httpx.Client(
            base_url=self.url, http1=not self.http2, http2=self.http2, timeout=PATIENCE, verify=False
        )

    def answers(self) -> bool:
        """Whether a worker of it handles requests."""
        try:
            return httpx.get(f"{self.url}/pid", headers={"Connection": "close"}).is_success
        except httpx.HTTPError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return its exit status once it has ended, and the processes that it had made as well."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {PATIENCE:g} s:\n{self.output}") from None
        eventually(lambda: not _session(self.process.pid))
        return status


@dataclass
class Shop:
    """The application and its store, whatever server runs it.

    Attributes:
        folder: where the store is, the ledger of its tasks, and the gate at which they wait.
        environment: variables for the app, see `apps.servers_app`.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def under(self, kind: str, *options: str, **environment: str) -> Iterator[Server]:
        """Serve it until the block ends, whether or not the block ends the server itself."""
        with served(kind, self.folder, options, {**self.environment, **environment}) as server:
            yield server

    def add(self, server: Server, *names: str) -> list[str]:
        """Add tasks in one request, over a connection that is closed after the answer."""
        # A client that reads what was promised and leaves: under dispatch="request" the server goes on.
        with server.client() as client, client.stream("POST", f"/add/{','.join(names)}") as answer:
            assert answer.status_code == 200, (answer.read(), server.output)
            for chunk in answer.iter_raw():
                return list(httpx.Response(200, content=chunk).json())
        raise AssertionError("an answer without a body")

    def ledger(self) -> list[Line]:
        """What the tasks have noted so far."""
        try:
            lines = (self.folder / "ledger").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        fields = [line.split() for line in lines]
        return [Line(event, name, task_id, int(pid)) for event, name, task_id, pid in fields]

    def began(self, *task_ids: str) -> list[Line]:
        """The beginnings of those tasks, once each has begun at least once."""

        def all_began() -> list[Line] | None:
            lines = [line for line in self.ledger() if line.event == "began" and line.task_id in task_ids]
            return lines if {line.task_id for line in lines} == set(task_ids) else None

        return eventually(all_began)

    def open_gate(self) -> None:
        """Let the tasks end."""
        (self.folder / "gate").touch()

    def close_gate(self) -> None:
        """Let them wait again."""
        (self.folder / "gate").unlink()

    def _select(self, columns_and_table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.folder / 'tasks.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(f"SELECT {columns_and_table}").fetchall()

    def rows(self) -> dict[str, tuple[str, str, str | None]]:
        """Name, state and owner of every task in the store, by id."""
        found = self._select("task_id, func_name, status, owner FROM tasks")
        return {task_id: (name, status, owner) for task_id, name, status, owner in found}

    def leases(self) -> int:
        """How many leases have not been released."""
        return len(self._select("token FROM leases WHERE beats > 0"))

    def status(self, task_id: str) -> str:
        """The state of a task in the store."""
        return self.rows()[task_id][1]

    def all_end(self, *task_ids: str) -> dict[str, str]:
        """The states of those tasks in the store, once they have ended."""

        def ended() -> dict[str, str] | None:
            rows = self.rows()
            states = {task_id: rows[task_id][1] for task_id in task_ids if task_id in rows}
            over = len(states) == len(task_ids) and all(rows[task_id][2] is None for task_id in task_ids)
            return states if over else None

        return eventually(ended)

    def times_begun(self) -> Counter[str]:
        """How often each task has begun."""
        return Counter(line.task_id for line in self.ledger() if line.event == "began")


@contextmanager
def served(
    kind: str, folder: Path, options: tuple[str, ...] = (), environment: Mapping[str, str] = {}
) -> Iterator[Server]:
    """Run the app under a server of that kind, a key of `COMMANDS`, on a port that is free."""
    port = free_port()
    command = [part.format(port=port, folder=folder) for part in (*COMMANDS[kind], *options)]
    command[0] = str(BIN / command[0])
    number = sum(1 for _ in folder.glob("server-*.log"))
    log = folder / f"server-{number}.log"
    workers = 0 if kind == "daphne" else 1 if "--workers=1" in command or kind not in WITH_TWO else 2
    ups = _ups(folder)
    variables = {"FOLDER": str(folder), "DISPATCH": "request", "PYTHONPATH": str(ROOT), **environment}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        server = Server(process, port, log, http2=kind.endswith("-http2"))
        try:
            # All of them: servers lose the signals that come while a worker starts.
            eventually(lambda: process.poll() is not None or len(_ups(folder) - ups) >= workers)
            eventually(lambda: process.poll() is not None or server.answers())
            assert process.poll() is None, server.output
            yield server
        finally:
            _kill_session(process.pid)


def _ups(folder: Path) -> set[Path]:
    return set(folder.glob("up-*"))


def _session(leader: int) -> list[int]:
    """The processes of a session of our making."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def _kill_session(leader: int) -> None:
    for pid in _session(leader):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
