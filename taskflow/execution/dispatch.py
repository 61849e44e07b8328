"""Running executions outside of a request, in asyncio tasks that the manager owns."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Iterable

from taskflow.core.running import running_loop
from taskflow.execution.driver import Execution, Executor

__all__ = ["Dispatcher", "Lane"]


class Dispatcher:
    """Owns the asyncio tasks that drive detached executions.

    Args:
        executor: drives each execution.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked: list[Lane] = []

    @property
    def started(self) -> bool:
        """Whether there is a loop of the manager's to run things on."""
        return self._loop is not None and self._loop.is_running()

    def start(self) -> None:
        """Adopt the running loop, and set going what was parked until there was one."""
        self._loop = asyncio.get_running_loop()
        self._start_parked()

    def stop(self) -> None:
        """Let go of the loop."""
        self._loop = None

    def dispatch(self, executions: Iterable[Execution]) -> None:
        """Drive executions one after the other, in the background; from any thread.

        Without a loop, neither the manager's nor a running one, they are parked until there is one; and
        until the manager starts, if one of them must be stored before it runs.
        """
        lane = Lane(self)
        taken = [execution for execution in executions if execution.take()]
        lane.extend(taken)
        running = running_loop()
        loop = self._loop if self.started else running
        if loop is None or (not self.started and any(execution.durable for execution in taken)):
            self._parked.append(lane)
        elif loop is running:
            self.spawn(lane)
        else:
            loop.call_soon_threadsafe(self.spawn, lane)

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
                await self.executor.run(waiting.popleft())
        finally:
            for execution in waiting:  # the server has cancelled the request: nobody else would drive them
                self.executor.interrupt(execution)

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
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.executor.wait_idle()


class Lane:
    """Executions of one request, driven in order by an asyncio task of the dispatcher's."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._queue: deque[Execution] = deque()
        self._going = False

    def extend(self, executions: Iterable[Execution]) -> None:
        """Queue executions behind the others."""
        self._queue.extend(executions)

    async def detach(self, execution: Execution) -> None:
        """Queue an execution and set the lane going; without a started manager, drive it here and now.

        A loop that no manager has started on, such as a bare `TestClient`'s, ends with the request and
        would take detached tasks with it.
        """
        if not self._dispatcher.started:
            await self._dispatcher.executor.run(execution)
            return
        self._queue.append(execution)
        if not self._going:
            self._going = True
            self._dispatcher.spawn(self)

    async def run(self) -> None:
        """Drive the queue until it is empty."""
        self._going = True
        executor = self._dispatcher.executor
        try:
            while self._queue:
                await executor.run(self._queue.popleft())
        finally:
            self._going = False

    def ended(self, task: asyncio.Task[None]) -> None:
        """Interrupt what its asyncio task has not reached: the loop is being closed without a shutdown.

        A callback of the task's, because one that is cancelled before its first step never enters `run`.
        """
        if task.cancelled() or task.exception() is not None:
            while self._queue:
                self._dispatcher.executor.interrupt(self._queue.popleft())
