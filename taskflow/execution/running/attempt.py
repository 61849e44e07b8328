"""The nouns of running: a task on its way, how an attempt of it ended, and what runs attempts."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.options import TaskOptions
from taskflow.execution.gate import Gate
from taskflow.execution.registry import TaskEntry
from taskflow.execution.running.pools import Pool
from taskflow.execution.running.stepping import Steered

__all__ = ["SUCCEEDED", "Execution", "Outcome", "Runner"]

PENDING, INTERRUPTED = TaskStatus.PENDING, TaskStatus.INTERRUPTED

LARGE: Final = 16 * 1024
"""Bytes of encoded arguments from which on they are rather decoded anew than kept twice."""


class Execution(Steered):
    """One task on its way through the engine.

    Attributes:
        entry: the function.
        record: the task's record in the store.
        args, kwargs: the plain arguments, also where the record keeps them encoded; see ``bare``.
        context: the contextvars of the place that enqueued it.
        options: how it is executed: what was said for the call, the decorator and the defaults.
        runner: what runs its attempts.
        gate: its storage, which is asked before it runs; ``None`` if it is not written ahead.
        taken: set once a driver has accepted it, so that it runs only once.
        stop: the state and reason to end with, once it was asked to stop. The first one counts.
        retry_delay: seconds between the latest failure, or the recovery, and the next attempt.
        retry_at: when that attempt is due, on the monotonic clock.
        resumable: whether what a shutdown leaves of it can run after the next start.
        begun: whether the function of the current attempt has been entered.
        outlived: whether its function goes on although nobody waits for it any more: a thread cannot be
            stopped. Then its runner gives its place in the pool back, when the thread ends.
        over: whether it has ended, or nobody needs to wait for its end any more.
        waiter: done when it is over; ``None`` if nobody waits.
        inside: whether all that drives it runs inside ``context``.
        bare: whether it has let go of its arguments, which the record has encoded.
        unowned: why it ends if the asyncio task that drives it is cancelled.
    """

    # Defaults on the class, as above.
    taken: bool = False
    stop: tuple[TaskStatus, str] | None = None
    retry_delay: float = 0.0
    retry_at: float = 0.0
    begun: bool = False
    outlived: bool = False
    over: bool = False
    inside: bool = False
    bare: bool = False
    unowned: str = "shutdown"
    waiter: asyncio.Future[None] | None = None

    def __init__(
        self,
        entry: TaskEntry,
        record: TaskRecord,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: contextvars.Context,
        options: TaskOptions,
        runner: Runner,
        gate: Gate | None = None,
        resumable: bool = False,
    ) -> None:
        self.entry, self.record, self.args, self.kwargs = entry, record, args, kwargs
        self.context, self.options, self.runner = context, options, runner
        self.gate, self.resumable = gate, resumable

    def left_as(self, reason: str) -> TaskStatus:
        """The state that it is left in: PENDING if a shutdown ends it and it can run after the next start."""
        again = not self.begun or self.options.requeue_on_interrupt
        return PENDING if reason == "shutdown" and self.resumable and again else INTERRUPTED

    def take(self) -> bool:
        """Accept it for driving; false if somebody has before."""
        if self.taken:
            return False
        self.taken = True
        return True

    async def wait(self) -> None:
        """Return when it is over; on the loop that drives it. One may wait at a time."""
        if not self.over:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter

    def shed(self) -> None:
        """Let go of large arguments that the record has encoded: while the task waits, once is enough."""
        encoded = self.record.payload or self.record.encrypted_payload
        if encoded is not None and len(encoded) > LARGE:
            self.args, self.kwargs, self.bare = (), {}, True

    def let_go(self) -> None:
        """Let whoever waits go on."""
        self.over = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


@dataclass(slots=True, eq=False)
class Outcome:
    """How an attempt ended.

    Attributes:
        value: what the function returned.
        error: what it raised; ``None`` if it returned.
    """

    value: Any = None
    error: BaseException | None = None


SUCCEEDED: Final = Outcome()
"""The function returned nothing, as most do."""


class Runner(Protocol):
    """Runs attempts somewhere: on the event loop, in threads. It never changes the state of a task.

    Attributes:
        pool: where an attempt takes a place first.
        stoppable: whether a function that has begun can be cancelled.
    """

    @property
    def pool(self) -> Pool: ...
    @property
    def stoppable(self) -> bool: ...

    def run(self, execution: Execution) -> Awaitable[Outcome]:
        """Run the function once, in the current context or a copy of it, and tell how it ended.

        Raises:
            asyncio.CancelledError: nobody waits any more, and the function may go on: see
                `Execution.outlived`.
        """
