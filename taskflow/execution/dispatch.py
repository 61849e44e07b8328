"""Driving executions in asyncio tasks that the manager owns; a request at most waits for them."""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import get_running_loop
from collections import deque
from collections.abc import Awaitable, Generator, Iterable
from itertools import islice
from typing import Final, cast

from taskflow.core.running import SLICE, running_loop
from taskflow.execution.driver import Driver
from taskflow.execution.running.attempt import Execution
from taskflow.execution.workers import Workers

__all__ = ["OVER", "Dispatcher", "Lane"]


class Dispatcher:
    """Owns the asyncio tasks that drive executions.

    Args:
        driver: drives each execution.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers = Workers(self.driver.run)
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked: list[Lane] = []

    @property
    def started(self) -> bool:
        """Whether there is a loop of the manager's to run things on."""
        return self._loop is not None and self._loop.is_running()

    def start(self) -> None:
        """Adopt the running loop, and set going what was parked until there was one."""
        self._loop = asyncio.get_running_loop()
        self._workers = Workers(self.driver.run)
        self._start_parked()

    def forked(self) -> None:
        """Let go of the loop, in a child of the process that has it."""
        self._loop = None

    async def stop(self) -> None:
        """Let go of the loop."""
        self._loop = None
        await self._workers.close()

    def dispatch(self, executions: Iterable[Execution]) -> None:
        """Drive executions one after the other, in the background; from any thread.

        Without a loop, neither the manager's nor a running one, they are parked until there is one; and
        until the manager starts, if one of them must be stored before it runs.
        """
        taken = [execution for execution in executions if execution.take()]
        lane = Lane(self, taken)
        running = running_loop()
        loop = self._loop if self.started else running
        if loop is None or (not self.started and any(execution.gate for execution in taken)):
            self._parked.append(lane)
        elif loop is running:
            self.spawn(lane)
        else:
            loop.call_soon_threadsafe(self.spawn, lane)

    def attend(self, execution: Execution) -> Awaitable[None]:
        """Drive an execution. What is returned ends with it, or when it waits long for its next attempt.

        The manager owns what drives it: whoever awaits here may be cancelled, and the task goes on. Without
        a started manager there is nobody to own it: then it is driven by whoever awaits, and ends with it.
        """
        loop = self._loop
        if loop is not get_running_loop():
            return self._drive_here(execution)
        ended = self._workers.begin(loop, execution)
        if ended is None:
            self.spawn(Lane(self, (execution,)))
        return OVER if ended else execution.wait()

    async def _drive_here(self, execution: Execution) -> None:
        execution.unowned = "request_cancelled"
        await self.driver.run(execution)
        await execution.leave_host()

    async def follow_up(self, executions: Iterable[Execution]) -> None:
        """`dispatch` what a request has left behind; without a started manager, drive it here and now.

        A loop that no manager has started on, such as a bare `TestClient`'s, ends with the request.
        """
        if self.started:
            self.dispatch(executions)
            return
        waiting = deque(execution for execution in executions if execution.take())
        try:
            while waiting:
                await self.attend(waiting.popleft())
        finally:
            for execution in waiting:  # the server has cancelled the request: nobody else would drive them
                self.driver.interrupt(execution)

    def spawn(self, lane: Lane) -> None:
        """Set a lane going on the running loop."""
        # An empty context: each attempt brings its own, and nothing else of the
        # request that happens to start the lane may live on in it.
        task = asyncio.get_running_loop().create_task(lane.run(), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lane.ended)

    def _start_parked(self) -> None:
        parked, self._parked = self._parked, []
        for lane in parked:
            self.spawn(lane)

    async def drain(self) -> None:
        """Return when everything dispatched and everything driven has ended."""
        await asyncio.sleep(0)  # what other threads have dispatched is spawned now
        self._start_parked()
        while self._tasks:  # some at a time: there may be a hundred thousand
            await asyncio.wait(list(islice(self._tasks, SLICE)))
        await self.driver.wait_idle()


class Over:
    """What is awaited where there is nothing to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        return NOTHING


NOTHING: Final = cast("Generator[None, None, None]", iter(()))
OVER: Final = Over()


class Lane:
    """Executions of one request, driven in order by an asyncio task of the dispatcher's."""

    def __init__(self, dispatcher: Dispatcher, executions: Iterable[Execution] = ()) -> None:
        self._dispatcher = dispatcher
        self._queue = deque(executions)
        self._going = False

    async def detach(self, execution: Execution) -> None:
        """Queue an execution and set the lane going; without a started manager, drive it here and now.

        A loop that no manager has started on, such as a bare `TestClient`'s, ends with the request and
        would take detached tasks with it.
        """
        if not self._dispatcher.started:
            await self._dispatcher.attend(execution)
            return
        self._queue.append(execution)
        if not self._going:
            self._going = True
            self._dispatcher.spawn(self)

    async def run(self) -> None:
        """Drive the queue until it is empty."""
        self._going = True
        driver = self._dispatcher.driver
        try:
            while self._queue:
                execution = self._queue.popleft()
                await driver.run(execution)
                await execution.leave_host()
        finally:
            self._going = False

    def ended(self, task: asyncio.Task[None]) -> None:
        """Interrupt what its asyncio task has not reached: the loop is being closed without a shutdown.

        A callback of the task's, because one that is cancelled before its first step never enters `run`.
        """
        if task.cancelled() or task.exception() is not None:
            while self._queue:
                self._dispatcher.driver.interrupt(self._queue.popleft())
