"""What an orchestrator asks: whether to restart the process, and whether to send it requests.

Anybody may ask, so the answers have no body: reasons may name hosts, and are at ``/health``.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from taskflow.admin.stats.health import health, is_live
from taskflow.manager import TaskManager

__all__ = ["Probes"]

HEADERS = {"Cache-Control": "no-store"}


class Probes:
    """The routes, as methods.

    Args:
        task_manager: whose state.
    """

    def __init__(self, task_manager: TaskManager) -> None:
        self._manager = task_manager

    def add_routes(self, router: APIRouter) -> None:
        """Add them."""
        for path, endpoint, no in (
            ("/live", self.live, "It has not started, or has stopped"),
            ("/ready", self.ready, "It cannot, see `/health`"),
        ):
            router.add_api_route(
                path,
                endpoint,
                response_class=Response,
                responses={200: {"description": "Yes"}, 503: {"description": no}},
            )

    async def live(self) -> Response:
        """Whether the process is alive: the manager has started and has not stopped.

        Neither an outage of the backend nor a shutdown that goes on changes that: a restart mends neither.
        """
        return _answer(is_live(self._manager))

    async def ready(self) -> Response:
        """Whether the manager can do its work now; the same verdict as that of `/health`."""
        return _answer(health(self._manager)["ok"])


def _answer(yes: bool) -> Response:
    return Response(status_code=200 if yes else 503, headers=HEADERS)
