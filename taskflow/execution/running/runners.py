"""The runners: async functions on the event loop, sync functions in threads."""

from __future__ import annotations

import asyncio
import functools
from contextvars import copy_context

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.execution.registry import TaskEntry
from taskflow.execution.running.attempt import SUCCEEDED, Execution, Outcome, Runner
from taskflow.execution.running.middleware import Chain, TaskCall
from taskflow.execution.running.pools import Pool, Pools
from taskflow.execution.running.results import refuse_unrun
from taskflow.execution.running.threads import Threads

__all__ = ["Runners"]


class LoopRunner:
    """Runs async functions on the event loop that drives them."""

    stoppable = True

    def __init__(self, pool: Pool, chain: Chain, arguments: ArgumentKeeper) -> None:
        self.pool = pool
        self._chain = chain
        self._arguments = arguments

    async def run(self, execution: Execution) -> Outcome:
        """Run the function in the current context."""
        try:
            if execution.bare or execution.record.retries_used:
                _renew(execution, self._arguments)
            if self._chain.around_async:
                value = await self._chain.call(_call(execution))
            else:
                value = await execution.entry.func(*execution.args, **execution.kwargs)
            if value is None:
                return SUCCEEDED
            refuse_unrun(value)
        except KeyboardInterrupt:  # the process is told to end
            raise
        except GeneratorExit as exc:
            if execution.abandoned:  # what awaits this is closed; else the function itself has raised it
                raise
            return Outcome(error=exc)
        except BaseException as exc:
            return Outcome(error=exc)
        return Outcome(value)


class ThreadRunner:
    """Runs sync functions in threads."""

    stoppable = False

    def __init__(self, pool: Pool, threads: Threads, chain: Chain, arguments: ArgumentKeeper) -> None:
        self.pool = pool
        self._threads = threads
        self._chain = chain
        self._arguments = arguments

    async def run(self, execution: Execution) -> Outcome:
        """Run the function in a thread, in a copy of the current context.

        Raises:
            asyncio.CancelledError: the thread goes on; what it still returns is discarded.
        """
        job = self._threads.start(functools.partial(copy_context().run, self._run, execution))
        try:
            return await job.outcome
        except asyncio.CancelledError:
            execution.outlived = job.leave(self.pool.leave)
            raise

    def _run(self, execution: Execution) -> Outcome:
        try:
            if execution.bare or execution.record.retries_used:
                _renew(execution, self._arguments)
            if self._chain.around_sync:
                value = self._chain.call_sync(_call(execution))
            else:
                value = execution.entry.func(*execution.args, **execution.kwargs)
            if value is None:
                return SUCCEEDED
            refuse_unrun(value)
        except BaseException as exc:  # a thread has nobody to raise to
            return Outcome(error=exc)
        return Outcome(value)


class Runners:
    """Knows which runner a task function needs. The one place to add another kind to.

    Args:
        pools: the places of the manager.
        chain: what is around every function.
        arguments: has the arguments of tasks that may run again.
    """

    def __init__(self, pools: Pools, chain: Chain, arguments: ArgumentKeeper) -> None:
        self._threads = Threads()
        self._on_loop = LoopRunner(pools.slots, chain, arguments)
        self._in_thread = ThreadRunner(pools.threads, self._threads, chain, arguments)

    def of(self, entry: TaskEntry) -> Runner:
        """The runner for a function."""
        return self._on_loop if entry.is_async else self._in_thread

    def close(self) -> None:
        """Let go of what runners keep: threads end when their functions return."""
        self._threads.close()


def _renew(execution: Execution, arguments: ArgumentKeeper) -> None:
    """Give an attempt the arguments as they were: an earlier one may have changed them, or let them go."""
    afresh = arguments.afresh(execution.record, execution.entry)
    if afresh is not None:
        (execution.args, execution.kwargs), execution.bare = afresh, False


def _call(execution: Execution) -> TaskCall:
    record = execution.record
    return TaskCall(
        func=execution.entry.func,
        args=execution.args,
        kwargs=execution.kwargs,
        task_id=record.task_id,
        func_name=record.func_name,
        attempt=record.attempt,
        tags=record.tags,
        options=execution.options,
    )
