"""A real Redis for tests."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import PATIENCE, eventually, free_port, send_to_all


@dataclass
class RedisServer:
    """A server on a free port of the loopback interface.

    Attributes:
        program: the path of ``redis-server``.
        folder: where its data and its log are.
        options: more of its command line.
        port: where it listens.
    """

    program: Path
    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        """What the server has to say."""
        return self.folder / "redis.log"

    def start(self) -> None:
        """Return when it answers. Does nothing if it runs."""
        if self._process is not None:
            return
        command = [self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.folder]
        command += ["--save", "", *self.options]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        eventually(lambda: self._process.poll() is not None or self.is_ready())
        assert self._process.poll() is None, self.log.read_text()

    def stop(self) -> None:
        """End it as a crash would, with SIGKILL. Does nothing if it is down."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            self._process.wait(PATIENCE)
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Let it stand still, with all its connections open, until `thaw`."""
        assert self._process is not None
        send_to_all(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        send_to_all(self._process.pid, signal.SIGCONT)

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
                connection.sendall(b"PING\r\n")
                # While it loads its data, or asks for a password, it answers with an error.
                return not connection.recv(64).startswith(b"-LOADING")
        except OSError:
            return False


@contextmanager
def running_redis(program: Path, folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server with its data in ``folder``, until the block ends; of its own accord it saves nothing."""
    server = RedisServer(program, folder, options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
