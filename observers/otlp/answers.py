"""What a collector says of a batch, which the official exporter does not read.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response, on partial success
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

if TYPE_CHECKING:
    from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport

logger = logging.getLogger("taskflow.observers")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is wrong with an answer that the official exporter takes for a success.

    Attributes:
        rejected: how many spans were not taken; ``None`` for all.
        reason: what the collector says.
    """

    rejected: int | None
    reason: str


class Answers:
    """Stands in for the transport of an exporter, and keeps the latest answer to each thread."""

    def __init__(self, transport: BaseHTTPTransport) -> None:
        self._transport = transport
        self._local = threading.local()

    def request(self, *args: Any, **options: Any) -> BaseHTTPResult:
        """Send a request, and look at the answer."""
        result = self._transport.request(*args, **options)
        self._local.answer = _complaint(result)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def take(self) -> Answer | None:
        """The answer to this thread's latest request, once; ``None`` if nothing is wrong with it."""
        found: Answer | None = self._local.__dict__.pop("answer", None)
        return found


def read_answers(exporter: OTLPSpanExporter) -> Answers | None:
    """Read the answers to an exporter; ``None``, and a line in the log, if its transport is not known."""
    client = getattr(exporter, "_client", None)
    transport = getattr(client, "_transport", None)
    if client is None or transport is None or not callable(getattr(transport, "request", None)):
        logger.warning("This version of the official exporter is unknown: partial successes are not noticed")
        return None
    client._transport = answers = Answers(transport)  # noqa: SLF001 # nothing public leads there; seen above
    return answers


def _complaint(result: BaseHTTPResult) -> Answer | None:
    status = result.status_code or 0
    if 300 <= status < 400:
        return Answer(None, f"it answered {status}, and redirects are not followed")
    if status != 200 or not (content := result.content()):
        return None
    try:
        partial = ExportTraceServiceResponse.FromString(content).partial_success
    except Exception:  # no protobuf: JSON, or the page of a proxy
        return None
    return Answer(partial.rejected_spans, partial.error_message) if partial.rejected_spans else None
