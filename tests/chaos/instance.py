"""An instance of the application as a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from multiprocessing.process import BaseProcess

from tests.chaos.app import Dispatch, serve
from tests.chaos.place import Place
from tests.processes import PATIENCE, eventually, free_port

# A process that has imported everything already makes a new instance in milliseconds, so that
# hundreds can be killed in minutes.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.chaos.app"])


class Instance:
    """A uvicorn on a port that stays the same through all of its lives.

    Attributes:
        place: what it shares with others.
        port: where it listens, while it does.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port = free_port()
        self._process: BaseProcess | None = None

    def start(self, dispatch: Dispatch = "detached") -> None:
        """Begin another life, and do not wait for it."""
        self._process = FORKS.Process(target=serve, args=(self.place, dispatch, self.port), daemon=True)
        self._process.start()

    @property
    def output(self) -> str:
        """What all of its lives have written to stdout and stderr so far."""
        return self.place.server_log(self.port).read_text()

    def is_ready(self) -> bool:
        """Whether the application has started."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def await_ready(self) -> None:
        """Return when it has."""
        eventually(self.is_ready)

    @property
    def pid(self) -> int:
        """The process of its present life."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> None:
        """Send it a signal and return when it is gone. Does nothing if it does not live."""
        if self._process is None:
            return
        self.send(number)
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"{PATIENCE:g} s after {number.name}:\n{self.output}"
        self._process.close()
        self._process = None

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as a deployment does."""
        self.end(signal.SIGTERM)
