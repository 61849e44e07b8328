"""What a collector says of a batch, which the official exporter does not read.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response, on partial success
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from requests import Response, Session


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
    """The latest answer to each thread that sends through a session."""

    def __init__(self, session: Session) -> None:
        self._local = threading.local()
        session.hooks["response"].append(self._read)

    def take(self) -> Answer | None:
        """The answer to this thread's latest request, once; ``None`` if nothing is wrong with it."""
        found: Answer | None = self._local.__dict__.pop("answer", None)
        return found

    def _read(self, response: Response, **_: object) -> None:
        self._local.answer = _complaint(response)


def _complaint(response: Response) -> Answer | None:
    if response.is_redirect:
        return Answer(None, f"redirected to {response.headers['Location']}, which is not followed")
    if response.status_code != 200 or not response.content:
        return None
    try:
        partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    except Exception:  # no protobuf: JSON, or the page of a proxy
        return None
    return Answer(partial.rejected_spans, partial.error_message) if partial.rejected_spans else None
