"""A real PostgreSQL for tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.processes import PATIENCE, eventually, free_port, send_to_all

PASSWORD = "swordfish"


@dataclass
class Postgres:
    """A server with one superuser, ``taskflow``, on a free port of the loopback interface.

    Attributes:
        programs: the folder of PostgreSQL's programs.
        folder: where its data and its log are; the server's user must be able to read it.
        port: where it listens.
    """

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The database of the superuser."""
        return f"postgresql://taskflow:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self) -> Path:
        """What the server has to say."""
        return self.folder / "postgres.log"

    def create(self) -> None:
        """Make a cluster of databases; only root's folders have to be handed to the server's user."""
        (self.folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        command = [self.programs / "initdb", f"--pgdata={self.folder / 'data'}", "--username=taskflow"]
        command += [f"--pwfile={self.folder / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8"]
        subprocess.run([*command, "--locale=C", "--no-sync"], check=True, capture_output=True, **_identity())

    def start(self) -> None:
        """Return when it takes connections. Does nothing if it runs."""
        if self._process is not None:
            return
        command = [self.programs / "postgres", "-D", self.folder / "data", f"--port={self.port}"]
        # A crash of the server loses nothing without fsync either; only one of the machine would.
        command += ["--listen-addresses=127.0.0.1", "--unix-socket-directories=", "--fsync=off"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **_identity())
        eventually(lambda: self._process.poll() is not None or self.is_ready())
        assert self._process.poll() is None, self.log.read_text()

    def stop(self) -> None:
        """End it as a crash would (``pg_ctl stop -m immediate``). Does nothing if it is down."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE)
            self._process = None

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
            psycopg.connect(self.dsn).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_postgres(programs: Path, folder: Path) -> Iterator[Postgres]:
    """A server with its data in ``folder``, until the block ends."""
    postgres = Postgres(programs, folder)
    postgres.create()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


def _identity() -> dict[str, object]:
    # PostgreSQL refuses to run as root; Debian's package brings a user for it.
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
