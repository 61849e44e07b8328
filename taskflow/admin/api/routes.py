"""The REST API and the live stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from taskflow.admin.access.guard import visit_of
from taskflow.admin.addresses import base_path
from taskflow.admin.api.detail import Details
from taskflow.admin.api.problems import answered
from taskflow.admin.api.schemas import (
    ActionResult,
    Health,
    MetricsSummary,
    OverviewAnswer,
    Task,
    TaskDetail,
    error_answers,
)
from taskflow.admin.feed.client import Ticket
from taskflow.admin.feed.hub import Hub
from taskflow.admin.feed.sse import EventStreamResponse
from taskflow.admin.replies import Reply, listing
from taskflow.admin.stats.health import health
from taskflow.admin.stats.overview import Overview
from taskflow.core.exceptions import TaskNotFoundError
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.query import MAX_PAGE, Cursor, TaskQuery
from taskflow.manager import TaskManager

__all__ = ["Api"]

TaskId = Annotated[str, Path(description="the id that `add_task` returned", max_length=200)]


NO_NUL = r"^[^\x00]*$"  # PostgreSQL refuses NUL in a text
CURSOR = r"^([0-9]{1,17}-[^\x00]+)?$"


def task_query(
    status: Annotated[list[TaskStatus] | None, Query(description="any of these states")] = None,
    func_name: Annotated[str, Query(pattern=NO_NUL, description="exactly this registered name")] = "",
    tag: Annotated[str, Query(pattern=NO_NUL, description="`key=value`, or `key` for any value")] = "",
    since: Annotated[AwareDatetime | None, Query(description="enqueued at this moment or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="enqueued before this moment")] = None,
    q: Annotated[str, Query(pattern=NO_NUL, description="text to find in the name, id, tags or error")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    cursor: Annotated[str, Query(pattern=CURSOR, description="from the `Link` of the page before")] = "",
) -> TaskQuery:
    """The query parameters of a listing. A task must match all filters; a blank filter counts as absent."""
    with answered():
        return TaskQuery(
            status=status or (),
            func_name=_given(func_name),
            tag=_given(tag),
            since=since,
            until=until,
            q=_given(q),
            limit=limit,
            after=Cursor.parse(cursor) if cursor else None,
        )


def _given(text: str) -> str | None:
    return text if text.strip() else None


class Api:
    """The routes, as methods.

    Args:
        path: the admin's path.
        task_manager: the manager of the tasks.
        overview: the numbers.
        details: all that is known about one task.
        hub: the live stream.
    """

    def __init__(
        self, path: str, task_manager: TaskManager, overview: Overview, details: Details, hub: Hub
    ) -> None:
        self._path = path
        self._manager = task_manager
        self._overview = overview
        self._details = details
        self._hub = hub

    def add_routes(self, router: APIRouter) -> None:
        """Add the routes; the fixed paths come before the path that takes any id."""
        _get(router, "", self.list_tasks, list[Task], error_answers(503))
        _get(router, "/metrics", self.metrics, MetricsSummary, error_answers(503))
        _get(router, "/overview", self.overview, OverviewAnswer)
        _get(
            router,
            "/health",
            self.health,
            Health,
            {503: {"model": Health, "description": "The manager cannot do its work"}},
        )
        router.add_api_route("/stream", self.stream, include_in_schema=False)
        _get(router, "/{task_id}", self.get_task, TaskDetail, error_answers(404, 503))
        _post(router, "/{task_id}/retry", self.retry)
        _post(router, "/{task_id}/cancel", self.cancel)

    async def list_tasks(self, request: Request, query: Annotated[TaskQuery, Depends(task_query)]) -> Reply:
        """List tasks, newest first.

        If there are more, the header `Link` has the address of the next page, with `rel="next"`.
        """
        with answered():
            page = await self._manager.history.page(query)
        headers = (
            {} if page.next is None else {"Link": f'<{self._following(request, page.next)}>; rel="next"'}
        )
        return Reply(await listing(page.records), headers=headers)

    def _following(self, request: Request, cursor: Cursor) -> str:
        """The address of the next page: a path without a host, because a proxy may have replaced the host."""
        filters = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        return f"{base_path(request, self._path)}?{urlencode([*filters, ('cursor', str(cursor))])}"

    async def metrics(self) -> Reply:
        """Totals of the history, and recent percentiles."""
        with answered():
            return Reply(await self._overview.metrics())

    async def overview(self) -> Reply:
        """Counts, activity, pools, observers and health."""
        return Reply(await self._overview.current())

    async def health(self) -> Reply:
        """Whether the manager can do its work."""
        answer = health(self._manager)
        return Reply(answer, 200 if answer["ok"] else 503)

    async def stream(
        self,
        request: Request,
        task_id: Annotated[str | None, Query(max_length=200)] = None,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Server-sent events: every change, or the changes and log lines of one task."""
        if self._hub.closed and not self._manager.running:
            raise HTTPException(503, "the TaskManager is shutting down")
        visit = visit_of(request)
        ticket = Ticket(last_event_id) if visit is None else Ticket(last_event_id, visit.lasts)
        chunks = self._hub.follow(ticket) if task_id is None else self._hub.follow_task(task_id, ticket)
        return EventStreamResponse(chunks)

    async def get_task(self, task_id: TaskId) -> Reply:
        """One task, with its trace, its retry, and its arguments if those are shown."""
        with answered():
            return Reply(await self._details.of(await self._find(task_id)))

    async def retry(self, task_id: TaskId) -> Reply:
        """Run a failed, interrupted or cancelled task again, as a new task.

        A second request answers with the task that the first one made.
        """
        with answered():
            again = await self._manager.retry(task_id)
            await self._manager.committed(again.task_id)
            return _acted(again)

    async def cancel(self, task_id: TaskId) -> Reply:
        """Cancel a task. A waiting task never runs; a running async one is stopped where it awaits.

        So is a stored task that no instance has.
        """
        with answered():
            try:
                return _acted(self._manager.cancel(task_id))
            except TaskNotFoundError:  # not here; but perhaps no instance has it
                return _acted(await self._manager.cancel_stored(task_id))

    async def _find(self, task_id: str) -> TaskRecord:
        record = await self._manager.history.get(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        return record


def _get(
    router: APIRouter,
    path: str,
    endpoint: Callable[..., Any],
    model: Any,
    responses: dict[int | str, dict[str, Any]] | None = None,
) -> None:
    router.add_api_route(path, endpoint, response_model=model, responses=responses)


def _post(router: APIRouter, path: str, endpoint: Callable[..., Any]) -> None:
    responses = error_answers(400, 403, 404, 409, 503)
    router.add_api_route(path, endpoint, methods=["POST"], response_model=ActionResult, responses=responses)


def _acted(record: TaskRecord) -> Reply:
    return Reply({"task_id": record.task_id, "task": record.to_dict()})
