"""Heartbeats, and a look at those of the others: in a thread of their own, wherever the backend lets them.

A task that computes holds up the event loop, and says nothing about the tasks beside it. So the loop only
has to show now and then that it still turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from taskflow.core.exceptions import BackendError
from taskflow.persistence.backend import SnapshotBackend
from taskflow.persistence.lease import Instance
from taskflow.persistence.watch import Watch

__all__ = ["Heart"]

logger = logging.getLogger("taskflow")

FIRST_PAUSE: Final = 1.0
"""Seconds until what failed is tried again; each time twice as long, up to the usual interval."""

LAST_BEAT: Final = 2.0
"""Seconds that the thread gets to end."""


class Heart:
    """Keeps the lease of an instance alive, and watches the others'.

    Args:
        instance: whose lease it is.
        heartbeat: seconds between two heartbeats.
        timeout: seconds without one after which others may end the lease; and it those of others.
        look: seconds between two looks at the leases of the others, as far as heartbeats are not rarer.
        max_loop_stall: seconds for which the event loop may stand still before heartbeats stop.

    Attributes:
        watch: what was seen of the others.
    """

    def __init__(
        self, instance: Instance, heartbeat: float, timeout: float, look: float, max_loop_stall: float
    ) -> None:
        self._instance = instance
        self._heartbeat = heartbeat
        self._look = min(heartbeat, look)
        self._timeout = timeout
        self._max_loop_stall = max_loop_stall
        self.watch = Watch(timeout, max(timeout / 2, 2 * self._look))
        self._lost = asyncio.Event()
        self._turned = 0.0
        self._stalled = False

    async def keep(self, on_new_lease: Callable[[], Awaitable[None]]) -> None:
        """Send heartbeats until cancelled.

        Args:
            on_new_lease: called when the lease had been ended by others, and a new one was taken.
        """
        self._lost, self._turned = asyncio.Event(), time.monotonic()
        twin = self._instance.backend.twin(self._timeout / 3)
        beating = self._beat_here() if twin is None else self._beat_in_a_thread(twin)
        async with asyncio.TaskGroup() as group:
            for work in (beating, self._turn(), self._replace_what_is_lost(on_new_lease)):
                group.create_task(work, context=contextvars.Context())

    # On the manager's loop

    async def _turn(self) -> None:
        """Show that the loop turns."""
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(min(self._heartbeat, self._max_loop_stall / 4))

    async def _replace_what_is_lost(self, on_new_lease: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._lost.wait()
            self._lost.clear()
            with contextlib.suppress(BackendError):  # logged; the next heartbeat finds the same
                # A new token: others may have taken over rows, and may leave them to us again.
                await self._instance.acquire(previous=self._instance.token)
                # Not before: where no lease can be had, each heartbeat comes to this.
                logger.warning("another instance had ended the lease of this one; a new one was taken")
                await on_new_lease()

    async def _beat_here(self) -> None:
        await self._beat(self._instance.backend, self._lost.set)

    async def _beat_in_a_thread(self, twin: SnapshotBackend) -> None:
        loop, lost = asyncio.get_running_loop(), self._lost.set
        thread = LoopThread(self._beat_on(twin, lambda: _soon(loop, lost)))
        try:
            await thread.ended()
        finally:
            await thread.end(LAST_BEAT)

    # On either

    async def _beat_on(self, backend: SnapshotBackend, lost: Callable[[], None]) -> None:
        try:
            await self._beat(backend, lost)
        finally:
            with contextlib.suppress(Exception):  # it is not needed any more
                async with asyncio.timeout(LAST_BEAT / 2):
                    await backend.close()

    async def _beat(self, backend: SnapshotBackend, lost: Callable[[], None]) -> None:
        due = time.monotonic() + self._heartbeat
        usual = min(self._heartbeat, self._timeout / 4)
        pause = 0.0
        again = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                if time.monotonic() >= due:
                    if self._vouches() and not await self._renew(backend):
                        lost()
                    due = time.monotonic() + self._heartbeat
                await self._look_around(backend)
            except BackendError:  # logged
                self.watch.lost_contact()
                pause, again = min(usual, again), 2 * again
            else:
                pause, again = max(0.0, min(self._look, due - time.monotonic())), FIRST_PAUSE

    async def _renew(self, backend: SnapshotBackend) -> bool:
        return await self._instance.vitals.measure("renew", backend.renew(self._instance.token))

    async def _look_around(self, backend: SnapshotBackend) -> None:
        asked = time.monotonic()
        leases = await self._instance.vitals.measure("leases", backend.leases())
        self.watch.saw(leases, asked, time.monotonic())

    def _vouches(self) -> bool:
        """Whether the manager's loop has turned lately."""
        stalled = time.monotonic() - self._turned > self._max_loop_stall
        if stalled and not self._stalled:
            message = "the event loop has stood still for %g s: no more heartbeats until it turns again"
            logger.error(message, self._max_loop_stall)
        self._stalled = stalled
        return not stalled


class LoopThread:
    """A thread with an event loop of its own, for one coroutine.

    Args:
        work: what runs there.
    """

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._here = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._here.create_future()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        threading.Thread(target=self._run, name="taskflow-heart", daemon=True).start()

    async def ended(self) -> None:
        """Return when it has ended; raises what it raised."""
        await asyncio.shield(self._ended)

    async def end(self, timeout: float) -> None:
        """Cancel it, and wait so many seconds for its end."""
        self._stopping = True
        task = self._task
        if task is not None:
            _soon(task.get_loop(), task.cancel)
        await asyncio.wait({self._ended}, timeout=timeout)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            # Not the policy's: that one may need the main thread, or be one that a driver cannot use.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as raised:  # a thread has nobody to raise to
            error = raised
        _soon(self._here, lambda: self._settle(error))

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        if self._stopping:  # whoever stops it did not see the task
            self._work.close()
        else:
            await self._work

    def _settle(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # it was closed: nobody waits for it any more
        loop.call_soon_threadsafe(call)
