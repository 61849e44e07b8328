"""The routers of the admin, and the route of the Prometheus metrics."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from taskflow.admin.access.guard import same_origin
from taskflow.admin.access.login import Login
from taskflow.admin.api.probes import Probes
from taskflow.admin.api.routes import Api
from taskflow.admin.api.schemas import error_answers
from taskflow.admin.dashboard import Dashboard
from taskflow.admin.options import check_path, refuse_taken
from taskflow.core.checks import check_token
from taskflow.core.exceptions import ConfigurationError
from taskflow.manager import TaskManager

__all__ = ["Metrics", "make_routers", "requests_of"]

EXPORT: Final = "taskflow.metrics.export"
"""What every `PrometheusObserver` imports, and with it prometheus_client."""


def make_routers(
    path: str, title: str, probes: Probes, api: Api, dashboard: Dashboard, login: Login | None
) -> list[APIRouter]:
    """Everything under ``path``: a router that anybody may use, and one behind the login if there is one."""
    public, guarded = _router(path, title), _router(path, title)
    probes.add_routes(public)
    if login is not None:
        guarded.dependencies.append(Depends(login.guard))
        guarded.responses |= error_answers(401)
        login.add_open_routes(public)
        login.add_routes(guarded)
    dashboard.add_routes(guarded)
    api.add_routes(guarded)
    return [public, guarded]  # in this order: a path of the API takes any id


def _router(path: str, title: str) -> APIRouter:
    slug = re.sub(r"\W+", "_", path).strip("_")
    return APIRouter(
        prefix=path,
        tags=[title],
        dependencies=[Depends(same_origin)],
        generate_unique_id_function=lambda route: f"{slug}_{route.name}",
    )


def requests_of(routers: Iterable[APIRouter]) -> Iterator[tuple[str, str]]:
    """The method and the path of each route, with ``x`` for each parameter of the path."""
    for router in routers:
        for route in router.routes:
            assert isinstance(route, APIRoute)  # the admin adds no others
            for method in sorted(route.methods or ()):
                yield method, re.sub(r"\{[^}]*\}", "x", route.path)


class Metrics:
    """The route of the Prometheus metrics, if the manager has a `PrometheusObserver`.

    Args:
        task_manager: the manager of the observer.
        path: path of the route.
        token: token that scrapers must send; ``None`` if there is none.
        require_token: whether requests are refused if there is no token.

    Raises:
        ConfigurationError: the path is malformed, or the token is empty or has spaces at its ends.
    """

    def __init__(
        self, task_manager: TaskManager, path: str, token: str | None, *, require_token: bool
    ) -> None:
        self._manager = task_manager
        self._path = check_path("metrics_path", path)
        self._token = None if token is None else check_token("metrics_token", token)
        self._require_token = require_token

    def refuse_conflicts(self, app: FastAPI, admin_path: str) -> None:
        """Check that the path is free.

        Raises:
            ConfigurationError: the admin or a route of the app has it.
        """
        if self._path == admin_path or self._path.startswith(f"{admin_path}/"):
            raise ConfigurationError("metrics_path", self._path, f"must not be under path={admin_path!r}")
        if self._has_observer():
            refuse_taken(app, "metrics_path", self._path, [("GET", self._path)])

    def mount(self, app: FastAPI) -> None:
        """Add the route."""
        if self._has_observer():
            from taskflow.metrics import mount_metrics

            mount_metrics(app, self._manager, self._path, self._token, require_token=self._require_token)

    def _has_observer(self) -> bool:
        if EXPORT not in sys.modules:  # nobody has made an observer that could be the manager's
            return False
        from taskflow.metrics.export import scrape_of

        try:
            scrape_of(self._manager)
        except ConfigurationError:
            return False
        return True
