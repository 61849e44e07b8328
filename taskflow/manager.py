"""The central object: configuration, and the way into every other part."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Self, TypeVar, overload

from fastapi import BackgroundTasks, FastAPI

from taskflow import backends
from taskflow.arguments.encryption import make_fernet
from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.arguments.preview import ArgumentTexts, argument_preview, argument_texts
from taskflow.core import forks
from taskflow.core.checks import check_bool, check_choice, check_int, check_seconds
from taskflow.core.complaints import Complaints
from taskflow.core.exceptions import (
    ArgumentsNotKeptError,
    ConfigurationError,
    FunctionNotRegisteredError,
    ManagerClosedError,
    TaskNotFoundError,
)
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.options import NOTHING, PersistenceOptions, TaskOptions, Where, accepting
from taskflow.core.query import MAX_PAGE, TaskQuery
from taskflow.execution.dispatch import Dispatcher, Lane
from taskflow.execution.driver import Driver
from taskflow.execution.enqueue import Enqueuer
from taskflow.execution.finished import HISTORY_BYTES
from taskflow.execution.registry import TaskRegistry
from taskflow.execution.retry import Retrier
from taskflow.execution.running.attempt import Execution
from taskflow.execution.running.middleware import Chain, Middleware
from taskflow.execution.running.pools import Pools
from taskflow.execution.running.runners import Runners
from taskflow.execution.shutdown import Shutdown
from taskflow.execution.store import TaskStore
from taskflow.execution.stream import EventStream
from taskflow.observers.base import TaskObserver
from taskflow.observers.chain import LoggerChain
from taskflow.persistence.backend import SnapshotBackend
from taskflow.persistence.history import History
from taskflow.web import injection, lifespan
from taskflow.web.background import ManagedBackgroundTasks
from taskflow.web.host import Runner

if TYPE_CHECKING:
    from taskflow.persistence.persistence import Persistence

__all__ = ["TaskManager"]

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

EncryptionKey = bytes | str

LAST_WORDS: Final = 2.0
"""Seconds that a server is kept from ending the loop at a second Ctrl-C."""

logger = logging.getLogger("taskflow")

FORKED = (
    "this TaskManager had been started before the process was forked: it stays with the parent. "
    "Make it before the fork if you like, but start it after"
)

NOT_STARTED = (
    "a request uses a TaskManager that was never started: its tasks run, and nothing of them is kept in "
    "the backend. Call manager.init_app(app) or TaskAdmin(app, manager), or await manager.startup()"
)


class TaskManager:
    """Background tasks with retries, ids, a history, and one stream of events.

    Args:
        snapshot_db: path to a SQLite file, which keeps the tasks.
        snapshot_backend: the backend that keeps them instead.
        snapshot_interval: seconds between periodic flushes to the backend.
        requeue_pending: save unfinished tasks on shutdown and run them after the next start; needs one
            of the two. Tasks with ``persist=True`` are saved and run again in any case.
        merged_list_ttl: seconds for which what was read of the backend is given again.
        loggers: observers; each receives every `task_log` call and every lifecycle transition.
        log_file: path of a log file: short for one more `FileLogger`, unless ``loggers`` has one for
            that path.
        log_file_max_bytes: size in bytes at which the file is rotated.
        log_file_backup_count: rotated files to keep.
        log_file_mode: ``"rotate"``, or ``"watched"`` where something else rotates the file.
        log_lifecycle: write a line for every transition to ``log_file``.
        encrypt_args_key: Fernet key for the arguments at rest. Of a list, the first encrypts and all
            decrypt. Needs the extra ``encryption``.
        max_concurrent_tasks: async tasks that may run at once; ``None`` for no limit.
        max_sync_threads: sync tasks that may run at once, each in a thread of Taskflow's own; ``None`` for
            as many as asyncio's default pool has threads.
        dispatch: ``"request"`` runs a request's tasks inside its ASGI call, after the response, as
            Starlette does; ``"detached"`` outside of it, in order, so that the connection is free.
        shutdown_timeout: seconds that accepted tasks get to finish once a shutdown begins.
        handle_signals: begin the shutdown at SIGTERM and SIGINT, before the server's own handler; end it at
            once at a second SIGINT, and at SIGQUIT where the server handles that.
        max_history: finished records to keep in memory ...
        max_history_bytes: ... and bytes that they may take together, about. The oldest ones leave first.
        retention_days: days after which the backend forgets an ended task, up to 36,500; never if ``None``.
        heartbeat_interval: seconds between two signs of life to the backend ...
        lease_timeout: ... and seconds without one, seen by others, after which they take over this
            instance's tasks.
        max_loop_stall: seconds for which the event loop may stand still before the signs of life, which
            do not need it, end as well.
        rescue_interval: seconds between two looks for tasks to take over.
        max_rescues: a task whose process was lost so many times while it ran is not tried again.
        middleware: what is around the function of every attempt, from the outside to the inside; see
            `TaskMiddleware`.

    Attributes:
        registry: the registered functions and their configurations.
        store: the task records in memory.
        logger: the chain of observers; ``None`` without ``loggers`` and ``log_file``.
        fernet: the encryptor; ``None`` without ``encrypt_args_key``.
        stream: where every event passes; subscribe here to read them all.
        pools: what bounds concurrency: async slots and threads.
        history: reads the records of memory and backend as one listing.
        enqueuer, driver, dispatcher: the parts of the engine.

    Raises:
        ConfigurationError: a value that cannot be; the message names it and what is allowed.
    """

    def __init__(
        self,
        snapshot_db: str | None = None,
        snapshot_backend: SnapshotBackend | None = None,
        snapshot_interval: float = 60.0,
        requeue_pending: bool = False,
        merged_list_ttl: float = 5.0,
        loggers: list[TaskObserver] | None = None,
        log_file: str | None = None,
        log_file_max_bytes: int = 10 * 1024 * 1024,
        log_file_backup_count: int = 5,
        log_file_mode: Literal["rotate", "watched"] = "rotate",
        log_lifecycle: bool = False,
        encrypt_args_key: EncryptionKey | list[EncryptionKey] | None = None,
        max_concurrent_tasks: int | None = None,
        max_sync_threads: int | None = None,
        *,
        dispatch: Literal["request", "detached"] = "request",
        shutdown_timeout: float = 10.0,
        handle_signals: bool = True,
        max_history: int = 10_000,
        max_history_bytes: int = HISTORY_BYTES,
        retention_days: float | None = None,
        heartbeat_interval: float = 10.0,
        lease_timeout: float = 30.0,
        max_loop_stall: float = 600.0,
        rescue_interval: float = 5.0,
        max_rescues: int = 3,
        middleware: list[Middleware] | None = None,
    ) -> None:
        persistence = PersistenceOptions(
            snapshot_interval=snapshot_interval,
            retention_days=retention_days,
            heartbeat_interval=heartbeat_interval,
            lease_timeout=lease_timeout,
            max_loop_stall=max_loop_stall,
            rescue_interval=rescue_interval,
            max_rescues=max_rescues,
        )
        check_seconds("merged_list_ttl", merged_list_ttl)
        backend = _backend(snapshot_db, snapshot_backend, requeue_pending)
        self.dispatch = check_choice("dispatch", dispatch, ("request", "detached"))
        self._handle_signals = check_bool("handle_signals", handle_signals)
        file_options = {
            "max_bytes": check_int("log_file_max_bytes", log_file_max_bytes, minimum=1),
            "backup_count": check_int("log_file_backup_count", log_file_backup_count, minimum=0),
            "mode": check_choice("log_file_mode", log_file_mode, ("rotate", "watched")),
            "log_lifecycle": check_bool("log_lifecycle", log_lifecycle),
        }
        observers = _observers(loggers, log_file, file_options)
        timeout = check_seconds("shutdown_timeout", shutdown_timeout)

        # What the others need comes first.
        self.logger = LoggerChain(observers) if observers else None
        self.fernet = None if encrypt_args_key is None else make_fernet(encrypt_args_key)
        self.registry = TaskRegistry()
        self.stream = EventStream(self.logger)
        self.store = TaskStore(max_history, self.stream, max_history_bytes=max_history_bytes)
        if backend is not None or self.fernet is not None:
            # Now, and not with the first task that is stored: if a test has frozen the clock by then, the
            # module would take the classes that stand for `datetime` and `date` for the real ones.
            import_module("taskflow.arguments.codec")
        pools = Pools(max_concurrent_tasks, max_sync_threads)
        self.pools = tuple(pools)
        arguments = self._arguments = ArgumentKeeper(self.fernet, requeue=requeue_pending)
        self._runners = Runners(pools, Chain.of(middleware), arguments)
        self.driver = Driver(self.store)
        self.dispatcher = Dispatcher(self.driver)
        kept = self._persistence = None if backend is None else self._persist(backend, persistence)
        self._scheduler = None if kept is None else kept.scheduler
        journal = None if kept is None else kept.journal
        self.enqueuer = Enqueuer(self.registry, self.store, self.driver, self._runners, arguments, journal)
        self.history = History(self.store, backend, self._scheduler, merged_list_ttl)
        self._retrier = Retrier(
            self.registry,
            self.store,
            self.history,
            arguments,
            self.enqueuer,
            self.dispatcher,
            None if kept is None else kept.reserve,
        )

        self._shutdown = Shutdown(self.driver, self.dispatcher, self.enqueuer, timeout)
        if self._persistence is not None:
            self._shutdown.listen(self._persistence.stop_recovering)
        self._signals = lifespan.SignalChain(self._on_signal, self._on_repeated_signal)
        self._not_started = Complaints(logger, math.inf, logging.WARNING)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._is_fork = False
        forks.watch(self)
        if self.logger is not None:
            self.logger.watch(self)

    def _persist(self, backend: SnapshotBackend, options: PersistenceOptions) -> Persistence:
        # Imported with the first backend: without one, nothing of it is needed.
        from taskflow.persistence.persistence import EngineParts, Persistence

        parts = EngineParts(
            self.stream, self.store, self.registry, self._arguments, self.dispatcher, self._runners
        )
        return Persistence(backend, parts, options)

    # Registering and enqueueing

    def task(
        self,
        retries: int = 0,
        delay: float = 0.0,
        backoff: float = 1.0,
        persist: bool = False,
        name: str | None = None,
        requeue_on_interrupt: bool = False,
    ) -> Callable[[F], F]:
        """Register the decorated function as a task; the function itself is not changed.

        Its settings hold however it is reached: as a method, which passes its object as ``self``, or in a
        `functools.partial`. Other decorators belong below this one; what one above it makes is another
        function, which ``add_task`` refuses, as it does a task of another manager.

        Args:
            retries: further attempts after the first failure.
            delay: seconds before the first retry.
            backoff: factor on the delay for each further retry.
            persist: keep the task so that it survives a crash; needs a backend.
            name: name to store and show; the function's ``__name__`` if ``None``.
            requeue_on_interrupt: run it again if it was mid-execution at shutdown. Only for idempotent
                functions.

        Raises:
            ConfigurationError: a value out of range, a duplicate name, or not a task function.
        """
        if callable(retries):
            raise ConfigurationError("task", retries, "write @task_manager.task(), with parentheses")
        options = TaskOptions(retries, delay, backoff, persist, name, requeue_on_interrupt)

        def register(func: F) -> F:
            self.registry.register(func, options)
            return func

        return register

    @overload
    def enqueue(
        self,
        func: Callable[..., Any],
        *args: Any,
        idempotency_key: str | None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> str: ...
    @overload
    def enqueue(
        self, func: Callable[..., Any], *args: Any, tags: Mapping[str, str] | None, **kwargs: Any
    ) -> str: ...
    @overload
    def enqueue(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> str: ...
    def enqueue(  # type: ignore[misc]  # no implementation accepts exactly what a ParamSpec stands for
        self,
        func: Callable[..., Any],
        *args: Any,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Run ``func(*args, **kwargs)`` in the background at once, and return the task's id.

        For code outside of a request: from any thread, without awaiting. It runs on the event loop of the
        manager; before `startup` on the one that runs in the calling thread, where it is interrupted if
        that one ends. Without either it waits for `startup` or `drain`, with ``persist=True`` always for
        `startup`. Takes and raises the same as `ManagedBackgroundTasks.add_task`.
        """
        if idempotency_key is None and tags is None:
            return self._enqueue(func, args, kwargs, NOTHING)
        return self._enqueue(func, args, kwargs, TaskOptions(idempotency_key=idempotency_key, tags=tags))

    @accepting(TaskOptions)
    def with_options(self, options: TaskOptions) -> ManagerWithOptions:
        """The same manager, by which what is enqueued next is executed as said here::

            manager.with_options(retries=5, idempotency_key=order_id).enqueue(ship, order_id)

        Args:
            options: any of `TaskOptions`. What is not said is as the decorator says.

        Raises:
            ConfigurationError: a value is out of range, or can only be said on the decorator.
        """
        return ManagerWithOptions(self._enqueue, options.check_where(Where.CALL))

    def _enqueue(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], said: TaskOptions
    ) -> str:
        task_id, execution = self.enqueuer.enqueue(func, args, kwargs, said, Execution)
        if execution is not None:
            self.dispatcher.dispatch((execution,))
        return task_id

    def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task, and return its record; from any thread.

        A task that waits is CANCELLED at once. In an async function that runs, `asyncio.CancelledError`
        is raised where it awaits; the record is CANCELLED when that surfaces.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskFinishedError: it has ended.
            TaskNotCancellableError: it is a sync function that has started.
        """
        return self.driver.cancel(task_id)

    async def cancel_stored(self, task_id: str) -> TaskRecord:
        """Cancel a task that is stored and that no instance has, and return its record.

        Such as one whose function is not in the code any more, so that it waits for ever and holds its
        idempotency key.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskFinishedError: it has ended.
            TaskNotCancellableError: an instance has it: it can be cancelled there.
            BackendError: the backend cannot be asked.
            CommitError: the backend does not take it.
        """
        if self._persistence is None:
            raise TaskNotFoundError(task_id)
        return await self._persistence.cancel(task_id)

    async def retry(self, task_id: str) -> TaskRecord:
        """Enqueue a failed, interrupted or cancelled task again, and return the record of the new one.

        Twice is once: the second time, the record of the first retry is returned.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskNotRetryableError: it has not ended, or with success.
            FunctionNotRegisteredError: its function is not registered.
            ArgumentsNotKeptError, DecryptionError, TaskArgumentError: its arguments are lost.
            ManagerClosedError: the shutdown has begun.
            BackendError: the backend cannot be asked.
            CommitError: the backend does not take the new task.
        """
        return await self._retrier.retry(task_id)

    def arguments_of(self, record: TaskRecord) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a task was enqueued with, decrypted where they are encrypted.

        They are let go when the task has ended with success: then only a backend may have them.

        Raises:
            FunctionNotRegisteredError: they are encoded, and its function is not registered.
            ArgumentsNotKeptError, DecryptionError, TaskArgumentError: they are lost.
        """
        entry = self.registry.named(record.func_name)
        if entry is not None:
            return self._arguments.recall(record, entry)
        if record.encrypted_payload is not None or record.payload is not None:
            raise FunctionNotRegisteredError(record.task_id, record.func_name)
        if not record.arguments_kept:
            raise ArgumentsNotKeptError(record.task_id)
        return record.args, record.kwargs

    def argument_texts(self, record: TaskRecord) -> ArgumentTexts:
        """The arguments of a task as short texts, for people: each as its `repr`, cut to 1,000 characters.

        Of a task that has ended with success, at most 1 KiB for all of them together; for that,
        `keep_previews` must have been called before it started.

        Raises:
            FunctionNotRegisteredError: they are encoded, and its function is not registered.
            ArgumentsNotKeptError, DecryptionError, TaskArgumentError: they are lost.
        """
        if record.status is TaskStatus.SUCCESS and record.preview is not None:
            preview: ArgumentTexts = record.preview
            return preview
        return argument_texts(*self.arguments_of(record))

    def keep_previews(self) -> None:
        """Keep the arguments of tasks that start from now on as short texts, also after their success."""
        self.driver.preview = argument_preview

    async def committed(self, task_id: str) -> None:
        """Return once a task with ``persist=True`` is stored, so that it survives a crash.

        Returns at once for any other task, and for one that has ended. Before the start of the manager,
        it waits for that.

        Raises:
            CommitError: it could not be stored, and will not run.
        """
        await self.enqueuer.committed(task_id)

    async def merged_list(self, limit: int = MAX_PAGE) -> list[TaskRecord]:
        """The newest records of this process and of the backend, newest first.

        Those of the backend lack arguments, logs and traceback, and have the beginning of the error:
        `history` has one record as a whole.

        Args:
            limit: the most records, up to 1,000; `history` pages through all of them.

        Raises:
            ConfigurationError: the limit is out of range.
            BackendError: the backend cannot be asked.
        """
        return (await self.history.page(TaskQuery(limit=limit))).records

    async def drain(self) -> None:
        """Return when every task that runs or was dispatched has ended; for tests and scripts."""
        await self.dispatcher.drain()

    # Injection

    async def get_tasks(self, background_tasks: BackgroundTasks) -> ManagedBackgroundTasks:
        """FastAPI dependency: the request's background tasks, managed.

        ::

            @app.post("/signup")
            async def signup(tasks: ManagedBackgroundTasks = Depends(task_manager.get_tasks)): ...
        """
        # Not a plain def: FastAPI would run it in a thread, at twice the cost of the whole request.
        if isinstance(background_tasks, ManagedBackgroundTasks) and background_tasks.task_manager is self:
            return background_tasks  # one object, one order
        return ManagedBackgroundTasks(self, background_tasks)

    @property
    def background_tasks(self) -> Callable[..., Any]:
        """Alias of `get_tasks`, for ``Depends(task_manager.background_tasks)``."""
        return self.get_tasks

    def request_runner(self) -> Runner:
        """What runs the tasks of one request, in the manager's dispatch mode."""
        if self._persistence is not None and not self.dispatcher.started:
            self._not_started.log(NOT_STARTED)
        if self.dispatch == "request":
            return self.dispatcher.attend
        return Lane(self.dispatcher).detach

    def install(self, app: FastAPI) -> None:
        """Make plain ``BackgroundTasks`` annotations in routes receive `ManagedBackgroundTasks`.

        Process-wide, as FastAPI has one place for it: routes of ``app`` get this manager, routes of apps
        that no manager was installed on get the one installed last. `uninstall` undoes it.

        Raises:
            RuntimeError: the app has started.
        """
        injection.install(self, app)

    def uninstall(self) -> None:
        """Undo `install`; FastAPI's own class comes back when the last manager leaves."""
        injection.uninstall(self)

    # Life

    def init_app(self, app: FastAPI) -> None:
        """Start and shut down with ``app``, and settle the tasks that Starlette never reaches.

        Works with and without ``FastAPI(lifespan=…)``: the app's own start-up runs before the manager's,
        and its own shutdown after it.

        Raises:
            RuntimeError: the app has started.
        """
        injection.add_middleware(self, app)
        lifespan.join_lifespan(self, app)

    async def startup(self) -> None:
        """Connect to the backend, start the observers, and dispatch what was enqueued before, here or by
        a process that has ended. Does nothing if started.

        Raises:
            BackendFormatError: the backend is not Taskflow's, or damaged, or of a newer version.
            ManagerClosedError: it had been started before this process was forked.
        """
        if self._is_fork:
            raise ManagerClosedError(FORKED)
        loop = asyncio.get_running_loop()
        if self._starting is None or self._starting[0] is not loop:
            self._starting = loop, asyncio.Lock()
        async with self._starting[1]:  # who comes second finds it started
            if self._loop is None or not self._loop.is_running():
                await self._start()

    async def _start(self) -> None:
        if self._persistence is not None:
            await self._persistence.connect()
        self._loop = asyncio.get_running_loop()
        self._stopping = None
        self.registry.in_use = True
        self._shutdown.reset()
        if self.logger is not None:
            await self.logger.startup()
        if self._persistence is not None:
            await self._persistence.begin()
        self.dispatcher.start()
        if self._handle_signals:
            self._signals.install()

    async def shutdown(self) -> None:
        """Take no more tasks, let accepted ones finish within ``shutdown_timeout``, close the observers.

        What has not ended by then is INTERRUPTED. Called again, it waits for the first call's end;
        `startup` starts again.
        """
        if self._is_fork:
            return  # what runs is the parent's
        if self._stopping is None:
            # A task of its own: whoever asks is not the one to break it off.
            loop = asyncio.get_running_loop()
            self._stopping = loop.create_task(self._stop(), context=contextvars.Context())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        await self._shutdown.finish()
        if self._persistence is not None:
            await self._persistence.shutdown()
        await self.dispatcher.stop()
        self._runners.close()
        if self.logger is not None:
            await self.logger.close()
        self._signals.remove()
        self.registry.in_use = False
        self._loop = None

    def forked(self) -> None:
        """Called in a child of this process. A manager that has started stays with the parent."""
        if self._loop is not None:
            self._loop = self._stopping = None
            self._is_fork = self.enqueuer.closed = True
            self.enqueuer.why_closed = FORKED
            self.dispatcher.forked()

    def on_stopping(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on the manager's loop when a shutdown begins: to end what waits for ever."""
        self._shutdown.listen(listener)

    @property
    def running(self) -> bool:
        """Whether it has started and no shutdown has begun."""
        return self.dispatcher.started and not self._shutdown.begun

    @property
    def backend_error(self) -> str | None:
        """Why the backend cannot be used now; ``None`` if it can, or there is none."""
        return None if self._persistence is None else self._persistence.vitals.error

    @property
    def waiting(self) -> Mapping[str, int]:
        """By name: how many stored tasks wait for a function that is not registered here."""
        return {} if self._persistence is None else self._persistence.waiting

    async def __aenter__(self) -> Self:
        await self.startup()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.shutdown()

    def _on_signal(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._shutdown.begin)

    def _on_repeated_signal(self, pass_on: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            pass_on()
        else:
            loop.call_soon_threadsafe(self._end_at_once, pass_on)

    def _end_at_once(self, pass_on: Callable[[], None]) -> None:
        """Shut down without waiting for tasks; call ``pass_on`` after that, or after `LAST_WORDS`."""
        self._shutdown.hurry()
        loop = asyncio.get_running_loop()
        ending = loop.create_task(self.shutdown(), context=contextvars.Context())
        waiting = loop.create_task(asyncio.wait({ending}, timeout=LAST_WORDS), context=contextvars.Context())
        waiting.add_done_callback(lambda _: pass_on())


class ManagerWithOptions:
    """Enqueues tasks with options of their own; see `TaskManager.with_options`."""

    def __init__(
        self,
        enqueue: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], TaskOptions], str],
        options: TaskOptions,
    ) -> None:
        self._enqueue = enqueue
        self._options = options

    def enqueue(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> str:
        """Run ``func(*args, **kwargs)`` in the background at once, and return the task's id.

        Takes and raises the same as `TaskManager.enqueue`.
        """
        return self._enqueue(func, args, kwargs, self._options)


def _backend(
    path: str | None, backend: SnapshotBackend | None, requeue_pending: bool
) -> SnapshotBackend | None:
    """The backend that keeps the tasks, if any; one that was made already takes precedence."""
    if backend is not None and not isinstance(backend, SnapshotBackend):
        raise ConfigurationError("snapshot_backend", backend, "must be a SnapshotBackend")
    if backend is None and path is not None:
        try:
            backend = backends.SqliteBackend(path)
        except ConfigurationError as error:
            raise ConfigurationError("snapshot_db", error.value, error.allowed) from error
    if check_bool("requeue_pending", requeue_pending) and backend is None:
        raise ConfigurationError("requeue_pending", requeue_pending, "needs snapshot_db or snapshot_backend")
    return backend


def _observers(
    loggers: list[TaskObserver] | None, log_file: str | None, file_options: dict[str, Any]
) -> list[TaskObserver]:
    """The observers, with a `FileLogger` for ``log_file`` unless there is one for the same path."""
    if loggers is not None and not isinstance(loggers, list | tuple):
        raise ConfigurationError("loggers", loggers, "must be a list of TaskObserver instances")
    observers = list(loggers or ())
    if log_file is None:
        return observers
    from taskflow.observers.file import FileLogger, resolve_path

    try:
        path = resolve_path(log_file)
        if not any(isinstance(observer, FileLogger) and observer.path == path for observer in observers):
            observers.append(FileLogger(log_file, **file_options))
    except ConfigurationError as error:
        parameter = "log_file" if error.parameter == "path" else f"log_file_{error.parameter}"
        raise ConfigurationError(parameter, error.value, error.allowed) from error
    return observers
