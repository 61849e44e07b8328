"""A real rsyslogd with the shipped configuration, and the syslog server that it sends to."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.processes import PATIENCE
from tests.prometheus import running
from tests.shipping import LOGS, write_shipped

SYSLOG = re.compile(
    r"<(?P<priority>\d+)>1 (?P<timestamp>\S+) \S+ (?P<app>\S+) \S+ \S+ (?P<data>-|\[.*?\]) ?(?P<text>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Message:
    """An RFC 5424 message; ``data`` is its structured data as it stands."""

    priority: int
    timestamp: str
    app: str
    data: str
    text: str

    @classmethod
    def parse(cls, frame: bytes) -> Message:
        """Read what RFC 5424, section 6, calls a SYSLOG-MSG."""
        found = SYSLOG.fullmatch(frame.decode())
        assert found is not None, frame
        fields = found.groupdict()
        return cls(**fields | {"priority": int(fields["priority"]), "text": fields["text"].rstrip("\n")})


class SyslogServer(socketserver.ThreadingTCPServer):
    """Keeps what it is sent, in order; on a free port of the loopback interface."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.messages: list[Message] = []

    def has(self, text: str) -> bool:
        """Whether a message with this in its text has come."""
        return any(text in message.text for message in reversed(self.messages))


class Connection(socketserver.StreamRequestHandler):
    """Octet counting, RFC 6587 section 3.4.1: the length in decimal, a space, the message."""

    server: SyslogServer

    def handle(self) -> None:
        while (length := _length(self.rfile)) is not None:
            self.server.messages.append(Message.parse(self.rfile.read(length)))


def _length(stream: BinaryIO) -> int | None:
    digits = b""
    while byte := stream.read(1):
        if byte == b" ":
            return int(digits)
        digits += byte
    return None


@contextmanager
def syslog_server() -> Iterator[SyslogServer]:
    """A server that runs until the block ends."""
    with SyslogServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@contextmanager
def running_rsyslog(binary: Path, logs: Path, server: SyslogServer, folder: Path) -> Iterator[None]:
    """Rsyslog reads ``logs`` until the block ends; with the same ``folder`` it goes on where it stopped."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    host, port = server.server_address
    places = {LOGS: logs, "/var/spool/rsyslog": work, "logs.example": host, '"601"': f'"{port}"'}
    configuration = write_shipped("rsyslog/taskflow.conf", folder, places)
    pid = folder / "rsyslogd.pid"
    command = [str(binary), "-n", "-f", str(configuration), "-i", str(pid)]
    with running(command, folder / "rsyslogd.log", pid.exists):
        yield
