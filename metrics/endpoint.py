"""The ``/metrics`` route."""

from __future__ import annotations

import asyncio
import gzip
import hmac
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from prometheus_client.exposition import gzip_accepted
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from taskflow.core.checks import check_token
from taskflow.metrics.export import scrape_of
from taskflow.metrics.exposition import encode
from taskflow.metrics.saturation import SaturationSource

__all__ = ["metrics_route", "mount_metrics"]

MetricsRoute = Callable[[Request], Awaitable[Response]]

GZIP_LEVEL = 1
"""The fastest level: scrapes are so repetitive that every level shrinks them to a few percent."""


def mount_metrics(
    app: Starlette,
    task_manager: SaturationSource,
    path: str = "/metrics",
    token: str | None = None,
    *,
    require_token: bool = False,
) -> None:
    """Serve the metrics of a manager's `PrometheusObserver` at ``GET {path}``.

    The route answers at exactly this path, without a redirect, and is not in the OpenAPI schema. The
    dependencies of the application do not apply to it: ``token`` guards it.

    Args:
        app: the FastAPI (or Starlette) application.
        task_manager: whose metrics.
        path: where, with a leading slash.
        token: what scrapers must send as ``Authorization: Bearer``; ``None`` lets everybody in,
            unless ``require_token`` is true.
        require_token: let nobody in without the token: nobody at all while ``token`` is ``None``.

    Raises:
        ConfigurationError: the manager has no `PrometheusObserver`, or the token is empty.
    """
    route = metrics_route(task_manager, token=token, require_token=require_token)
    app.add_route(path, route, methods=["GET"], name="taskflow-metrics", include_in_schema=False)


def metrics_route(
    task_manager: SaturationSource, *, token: str | None = None, require_token: bool = False
) -> MetricsRoute:
    """The route function itself, for applications that mount it their own way. See `mount_metrics`."""
    renderer = Renderer(scrape_of(task_manager))
    guard = None if token is None and not require_token else BearerGuard(token)

    async def metrics(request: Request) -> Response:
        if guard is not None and not guard.admits(request):
            return PlainTextResponse("Unauthorized\n", 401, {"WWW-Authenticate": 'Bearer realm="metrics"'})
        return await renderer.response(request)

    return metrics


class Renderer:
    """Writes scrapes on a thread of its own, one after the other.

    On the event loop, a scrape would delay all requests. In asyncio's thread pool it would wait for them,
    and be late just when the application is overloaded. The thread starts with the first scrape, and ends
    with this object or with the interpreter.

    Args:
        collector: what is scraped.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="taskflow-metrics")

    async def response(self, request: Request) -> Response:
        """The answer to one scrape, in the format and encoding that it accepts."""
        accept = ",".join(request.headers.getlist("accept"))
        zipped = gzip_accepted(",".join(request.headers.getlist("accept-encoding")))
        loop = asyncio.get_running_loop()
        body, content_type = await loop.run_in_executor(self._thread, self._render, accept, zipped)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)

    def _render(self, accept: str, zipped: bool) -> tuple[bytes, str]:
        body, content_type = encode(self._collector, accept)
        return (gzip.compress(body, GZIP_LEVEL) if zipped else body), content_type


class BearerGuard:
    """Compares tokens in constant time.

    Args:
        token: the only token that is accepted; ``None`` refuses all requests.

    Raises:
        ConfigurationError: the token is empty, or has spaces at its ends, which no header can have.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else check_token("token", token).encode()

    def admits(self, request: Request) -> bool:
        """Whether the request carries the token."""
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        # Starlette decodes headers as Latin-1; this gives back the bytes that were sent.
        return hmac.compare_digest(sent.strip().encode("latin-1"), self._token)
