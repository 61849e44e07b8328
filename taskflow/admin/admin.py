"""Mounting the admin on an application."""

from __future__ import annotations

from fastapi import FastAPI

from taskflow.admin.access.auth import Auth
from taskflow.admin.access.guard import handle_refusals
from taskflow.admin.access.login import make_login
from taskflow.admin.api.detail import Details
from taskflow.admin.api.probes import Probes
from taskflow.admin.api.routes import Api
from taskflow.admin.api.traces import Traces
from taskflow.admin.dashboard import Dashboard
from taskflow.admin.feed.hub import Hub
from taskflow.admin.mounting import Metrics, make_routers, requests_of
from taskflow.admin.options import check_instance, check_path, check_trace_url, refuse_taken
from taskflow.admin.stats.activity import Activity
from taskflow.admin.stats.overview import Overview
from taskflow.core.checks import check_bool, check_text
from taskflow.manager import TaskManager
from taskflow.version import __version__

__all__ = ["TaskAdmin"]


class TaskAdmin:
    """Starts a manager with the app, and mounts its dashboard, REST API, live stream and metrics.

    Routes that are added to the app later do not hide these. A route that the app has already and that
    answers one of these addresses is an error.

    Args:
        app: the application.
        task_manager: the manager of the tasks. `TaskManager.init_app` is called for it; calling that
            as well does no harm.
        path: where the admin is mounted, with a leading slash; the dashboard is at ``{path}/dashboard``.
        auth: who may log in: ``(user, password)``, a list of those, or a `TaskAuthBackend`; ``None``
            lets everybody in.
        secret_key: signs the sessions; processes with the same key accept each other's sessions. Without
            a key each process makes its own. Only used with ``auth``.
        token_expiry: seconds that a session lasts.
        display_func_args: whether the arguments of tasks are shown, stored and encrypted ones as well.
        auto_install: whether to call `TaskManager.install`, so that plain ``BackgroundTasks`` are managed.
        title: title of the pages.
        metrics_path: path of the metrics for Prometheus, if the manager has a `PrometheusObserver`.
        metrics_token: token that Prometheus must send as ``Authorization: Bearer``. With ``auth`` and
            without a token, nobody may read the metrics.
        trace_url: address of a trace in your tracing UI, with ``{trace_id}`` in it.

    Attributes:
        app, task_manager, path: as given.

    Raises:
        ConfigurationError: a value is not allowed; the message names the parameter and what is allowed.
        RuntimeError: the app has started.
    """

    def __init__(
        self,
        app: FastAPI,
        task_manager: TaskManager,
        path: str = "/tasks",
        auth: Auth | None = None,
        secret_key: str | bytes | None = None,
        token_expiry: int = 86_400,
        display_func_args: bool = False,
        auto_install: bool = False,
        title: str = "Taskflow",
        metrics_path: str = "/metrics",
        metrics_token: str | None = None,
        trace_url: str | None = None,
    ) -> None:
        self.app = check_instance("app", app, FastAPI)
        self.task_manager = check_instance("task_manager", task_manager, TaskManager)
        self.path = check_path("path", path)
        settings = {
            "title": check_text("title", title),
            "version": __version__,
            "auth": auth is not None,
            "args": check_bool("display_func_args", display_func_args),
            "trace": check_trace_url(trace_url) is not None,
        }
        check_bool("auto_install", auto_install)
        login = None if auth is None else make_login(path, title, auth, secret_key, token_expiry)
        metrics = Metrics(task_manager, metrics_path, metrics_token, require_token=auth is not None)
        metrics.refuse_conflicts(app, path)

        activity, traces = Activity(), Traces(task_manager.store.max_history)
        overview = Overview(task_manager, activity)
        hub = Hub(task_manager, overview.current)
        details = Details(task_manager, traces, trace_url, display_func_args)
        api = Api(path, task_manager, overview, details, hub)
        routers = make_routers(path, title, Probes(task_manager), api, Dashboard(path, settings), login)
        refuse_taken(app, "path", path, requests_of(routers))

        # From here on nothing is refused any more.
        task_manager.init_app(app)
        if auto_install:
            task_manager.install(app)
        task_manager.on_stopping(hub.close)
        task_manager.store.levels()  # from now on they are counted
        for record in task_manager.store:
            if record.finished:
                activity.take_in(record)
        task_manager.stream.subscribe(activity)
        task_manager.stream.subscribe(traces)
        handle_refusals(app)
        for router in routers:
            app.include_router(router)
        metrics.mount(app)
