"""Real uvicorn servers for tests: as processes that signals end, and in threads of the test's own process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import uvicorn

T = TypeVar("T")

ROOT = Path(__file__).parents[1]

PATIENCE = 60.0
"""Seconds until something that should have happened counts as missing."""


def eventually(found: Callable[[], T | None], patience: float = PATIENCE) -> T:
    """The first result of ``found`` that is true."""
    deadline = time.monotonic() + patience
    while not (result := found()):
        assert time.monotonic() < deadline, f"still {result!r} after {patience:g} s"
        time.sleep(0.02)
    return result


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def send_to_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process of ours and to all that it has started."""
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            process.send_signal(number)


@dataclass
class ServerProcess:
    """A uvicorn that runs, or has run, as a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    workers: int

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr so far."""
        return self.log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it listens, on a port that the system chose."""
        found = re.search(r"Uvicorn running on (http://[\d.:]+)", self.output)
        assert found is not None, self.output
        return found[1]

    def is_ready(self) -> bool:
        """Whether every worker has started its application and the port is open."""
        output = self.output
        started = output.count("Application startup complete")
        return started == self.workers and "Uvicorn running on" in output

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it; of several processes, to the parent."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return its exit status once it has ended."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {PATIENCE:g} s:\n{self.output}") from None


@contextmanager
def uvicorn_process(
    app: str, folder: Path, *, port: int = 0, workers: int = 1, environment: Mapping[str, str] = {}
) -> Iterator[ServerProcess]:
    """Serve ``app`` (``module:attribute``) until the block ends, whether or not the block ends it itself."""
    command = [sys.executable, "-m", "uvicorn", app, "--host=127.0.0.1", f"--port={port}", "--no-use-colors"]
    command += [f"--workers={workers}"] if workers > 1 else []
    log = folder / "uvicorn.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        server = ServerProcess(process, log, workers)
        try:
            eventually(lambda: process.poll() is not None or server.is_ready())
            assert process.poll() is None, server.output
            yield server
        finally:
            _kill_session(process.pid)


def _kill_session(leader: int) -> None:
    """End the process and the workers that it may have left behind; its session is of our making."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def uvicorn_thread(app: Any) -> Iterator[str]:
    """Serve ``app`` from a thread, so that the test can look at its objects; gives the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        host, port = listener.getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()
