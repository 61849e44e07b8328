"""Tying the manager's life to the app's: the lifespan, and the signals that end a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Final

from fastapi import FastAPI

from taskflow.web import injection
from taskflow.web.host import TaskHost
from taskflow.web.routes import refuse_bare_annotations

__all__ = ["SignalChain", "join_lifespan"]

Handler = Callable[[int, FrameType | None], Any]

QUIT: Final = getattr(signal, "SIGQUIT", None)
"""gunicorn's quick shutdown: it cancels everything, without a lifespan shutdown. Windows has none."""

SIGNALS = tuple(number for number in (signal.SIGTERM, signal.SIGINT, QUIT) if number is not None)


def join_lifespan(task_manager: TaskHost, app: FastAPI) -> None:
    """Start the manager after the app's own start-up, and shut it down before the app's own shutdown.

    So tasks can use what the app's lifespan opens, until the last of them has ended.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with inner(app) as state:
            if not injection.is_installed():
                refuse_bare_annotations(app.routes)
            await task_manager.startup()
            try:
                yield state
            finally:
                await task_manager.shutdown()

    app.router.lifespan_context = lifespan


class SignalChain:
    """Tells the manager of SIGTERM, SIGINT and SIGQUIT before the server's own handler runs.

    uvicorn waits for the background tasks of open requests before it begins the lifespan shutdown, and
    without a limit: a manager that waited for its lifespan could never end them. At a SIGINT that comes
    after another signal, it ends the loop at once, without any lifespan shutdown; gunicorn's own worker
    does so at SIGQUIT. These are held back until the manager has ended.

    Args:
        notice: called in the signal handler; must only schedule work.
        hurry: the same, at a signal that allows no time. It calls what it is given on the loop when the
            server may have the signal.
    """

    def __init__(self, notice: Callable[[], None], hurry: Callable[[Callable[[], None]], None]) -> None:
        self._notice = notice
        self._hurry = hurry
        self._links: dict[int, _Link] = {}
        self._noticed = 0

    def install(self) -> None:
        """Put the handler before the present ones; only in the main thread, elsewhere nothing happens.

        A signal that nobody handles is left alone: it ends the process at once, as it should.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        self._noticed = 0
        for number in SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                self._links[number] = _Link(self._on_signal, previous)
                signal.signal(number, self._links[number])

    def remove(self) -> None:
        """Restore the handlers; where somebody has put another one before ours, ours only passes on."""
        for number, link in self._links.items():
            link.active = False
            present: object = signal.getsignal(number)
            if present is link:
                signal.signal(number, link.previous)
        self._links.clear()

    def _on_signal(self, number: int, pass_on: Callable[[], None]) -> None:
        self._noticed += 1
        if number == QUIT or (self._noticed == 2 and number == signal.SIGINT):
            self._hurry(pass_on)  # a third Ctrl-C is not held back
            return
        self._notice()
        pass_on()


class _Link:
    """A handler in the chain. Each start makes a new one: an old one may still be in the middle."""

    def __init__(self, receive: Callable[[int, Callable[[], None]], None], previous: Handler) -> None:
        self.active = True
        self.previous = previous
        self._receive = receive

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.active:
            self._receive(number, lambda: self.previous(number, frame))
        else:
            self.previous(number, frame)
