"""FastAPI's `BackgroundTasks`, upgraded: what routes see of Taskflow."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, overload

from fastapi import BackgroundTasks
from starlette.background import BackgroundTask

from taskflow.core.complaints import Complaints
from taskflow.core.options import NOTHING, TaskOptions, Where, accepting
from taskflow.execution.dispatch import OVER
from taskflow.execution.gate import Gate
from taskflow.execution.running.attempt import Execution
from taskflow.web.host import Runner, TaskHost
from taskflow.web.middleware import RequestTasks, current_request

__all__ = ["ManagedBackgroundTasks"]

P = ParamSpec("P")

logger = logging.getLogger("taskflow")

BEFORE_ITS_COMMIT = (
    "a response went out before task %s was stored, and a crash at that moment would lose it: have responses "
    "wait by manager.init_app(app), TaskAdmin(app, manager) or manager.install(app); or await committed()"
)
_complaints = Complaints(logger, 3600.0, logging.ERROR)


class ManagedBackgroundTasks(BackgroundTasks):
    """Background tasks of one request, with an id, a status, retries and a history.

    Args:
        task_manager: the manager that runs them.
        background_tasks: the request's native object, whose list is shared; a list of its own if ``None``.
    """

    def __init__(self, task_manager: TaskHost, background_tasks: BackgroundTasks | None = None) -> None:
        super().__init__()
        if background_tasks is not None:
            self.tasks = background_tasks.tasks
        self.task_manager = task_manager
        self._run = task_manager.request_runner()
        self._promises: Promises | None = None

    # A ParamSpec lets no keyword stand between its *args and **kwargs. So arguments
    # are checked against the function's own where neither option is given.
    @overload  # type: ignore[override]  # the native method returns None
    def add_task(
        self,
        func: Callable[..., Any],
        *args: Any,
        idempotency_key: str | None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> str: ...
    @overload
    def add_task(
        self, func: Callable[..., Any], *args: Any, tags: Mapping[str, str] | None, **kwargs: Any
    ) -> str: ...
    @overload
    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> str: ...
    def add_task(  # type: ignore[misc]  # no implementation accepts exactly what a ParamSpec stands for
        self,
        func: Callable[..., Any],
        *args: Any,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Run ``func(*args, **kwargs)`` after the response, and return the task's id.

        Args:
            func: sync or async; registered with ``@task_manager.task()`` or not.
            args: positional arguments.
            idempotency_key: while a pending, running, retrying or successful task of this function has
                this key, nothing is run, and that task's id is returned.
            tags: labels that go to every observer.
            kwargs: keyword arguments.

        Raises:
            ManagerClosedError: the shutdown has begun.
            PersistenceRequiredError: the task has ``persist=True`` and the manager no backend.
            TaskArgumentError: arguments that must be stored cannot be.
            ConfigurationError: not a callable, or wrong tags or key.
        """
        if idempotency_key is None and tags is None:
            return self._add(func, args, kwargs, NOTHING)
        return self._add(func, args, kwargs, TaskOptions(idempotency_key=idempotency_key, tags=tags))

    @accepting(TaskOptions)
    def with_options(self, options: TaskOptions) -> TasksWithOptions:
        """The same tasks, to which what is added next is executed as said here::

            tasks.with_options(retries=5, tags={"shop": "7"}).add_task(send_email, address)

        ``add_task`` of what is returned takes the function's own arguments and nothing else: the function
        may have parameters that are called like options.

        Args:
            options: any of `TaskOptions`. What is not said is as the decorator says.

        Raises:
            ConfigurationError: a value is out of range, or can only be said on the decorator.
        """
        return TasksWithOptions(self._add, options.check_where(Where.CALL))

    def _add(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], said: TaskOptions
    ) -> str:
        enqueuer = self.task_manager.enqueuer
        task_id, execution = enqueuer.enqueue(func, args, kwargs, said, QueuedTask, promised=True)
        request = current_request()
        promise = enqueuer.promise(task_id) if execution is None else execution.gate
        if promise is not None:
            self._promise(promise, request)
        if execution is None:
            return task_id
        if request is None:
            execution.unwatched = self._promises
        elif request.is_socket and self.task_manager.dispatcher.started:
            self.task_manager.dispatcher.dispatch((execution,))  # there is no response to wait for
            return task_id
        else:
            request.add(self.task_manager, execution)
        execution.drive = self._run
        self.tasks.append(execution)
        return task_id

    def _promise(self, promise: Gate, request: RequestTasks | None) -> None:
        if self._promises is None:
            self._promises = Promises()
        self._promises.add(promise)
        if request is not None:
            request.promises.append(promise)

    async def committed(self) -> None:
        """Return once every task with ``persist=True`` that was added so far survives a crash.

        A response waits for that by itself, where `TaskAdmin`, `TaskManager.init_app` or
        `TaskManager.install` have added the middleware; not so what is added after it has started, nor
        in a WebSocket route, whose tasks run at once.

        Raises:
            CommitError: one could not be stored, and will not run.
        """
        if self._promises is not None:
            await self._promises.committed()


class Promises:
    """The tasks with ``persist=True`` of one request.

    Attributes:
        awaited: whether the route has waited for all of them.
    """

    __slots__ = ("_gates", "awaited")

    def __init__(self) -> None:
        self.awaited = True
        self._gates: list[Gate] = []

    def add(self, gate: Gate) -> None:
        """Promise another one."""
        self.awaited = False
        self._gates.append(gate)

    async def committed(self) -> None:
        """Wait until all are stored."""
        for gate in self._gates:
            await gate.committed()
        self.awaited = True


class TasksWithOptions:
    """Adds tasks with options of their own; see `ManagedBackgroundTasks.with_options`."""

    def __init__(
        self,
        add: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], TaskOptions], str],
        options: TaskOptions,
    ) -> None:
        self._add = add
        self._options = options

    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> str:
        """Run ``func(*args, **kwargs)`` after the response, and return the task's id.

        Raises the same as `ManagedBackgroundTasks.add_task`.
        """
        return self._add(func, args, kwargs, self._options)


class QueuedTask(Execution, BackgroundTask):  # type: ignore[misc]  # args and kwargs: P's are no types here
    """An element of the native task list, with the attributes that Starlette's own has.

    FastAPI reads ``func`` for its own span of the task, and tests of applications read the others. One
    object is both, because one is made for every task.

    Attributes:
        drive: runs the task, or hands it to the manager.
        unwatched: what the response should wait for, if no middleware has it wait.
    """

    drive: Runner
    unwatched: Promises | None = None

    @property
    def func(self) -> Callable[..., Any]:  # type: ignore[override]
        """The task's function."""
        return self.entry.func

    @property
    def is_async(self) -> bool:  # type: ignore[override]
        """Whether calling it gives a coroutine."""
        return self.entry.is_async

    def __call__(self) -> Awaitable[None]:  # type: ignore[override]  # Starlette awaits it, nothing else
        """Run the task, or hand it to the manager; Starlette awaits this after the response."""
        # Not an async def: it would only await another coroutine, on the hot path.
        if self.unwatched is not None and not self.unwatched.awaited:
            _complaints.log(BEFORE_ITS_COMMIT, self.record.func_name)
        if self.taken:
            return OVER
        self.taken = True  # as `take`, without a call for every task
        return self.drive(self)
