"""The routes of the dashboard's page and of its files."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.responses import Response

from taskflow.admin.access.guard import visit_of
from taskflow.admin.addresses import DASHBOARD, base_path
from taskflow.admin.pages.files import StaticFiles
from taskflow.admin.pages.page import Page

__all__ = ["Dashboard"]


class Dashboard:
    """The routes, as methods.

    Args:
        path: the admin's path.
        settings: values for the template that are the same for each request.
    """

    def __init__(self, path: str, settings: Mapping[str, object]) -> None:
        self._path = path
        self._settings = settings
        self._page = Page("dashboard.html")
        self._static = StaticFiles()

    def add_routes(self, router: APIRouter) -> None:
        """Add the routes."""
        router.add_api_route(f"/{DASHBOARD}", self.show, include_in_schema=False)
        router.add_api_route("/static/{name:path}", self.file, include_in_schema=False)

    async def show(self, request: Request) -> Response:
        """Answer with the page."""
        visit = visit_of(request)
        user = "" if visit is None else visit.session.username
        return self._page.response({**self._settings, "base": base_path(request, self._path), "user": user})

    async def file(self, name: str, request: Request) -> Response:
        """Answer with one of its files."""
        return self._static.file(name, request)
