"""JSON answers of the API: any text that a record may hold, and never the loop for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response

from taskflow.core.models import TaskRecord

__all__ = ["Reply", "encode", "listing"]

encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""A value as JSON text, ASCII only: errors and logs may hold lone surrogates, which are not UTF-8."""

TURN = 64 * 1024
"""Characters that are encoded before others get their turn on the event loop."""

PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Reply(Response):
    """A JSON answer that nobody keeps.

    FastAPI's own would refuse text that is not UTF-8, and check again what `TaskRecord.to_dict` made.
    """

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] = {}) -> None:
        super().__init__(content, status_code, PRIVATE | dict(headers))

    def render(self, content: Any) -> bytes:
        """The content as bytes; what is bytes already has been encoded."""
        return content if isinstance(content, bytes) else encode(content).encode("ascii")


async def listing(records: Iterable[TaskRecord]) -> bytes:
    """The records as a JSON array, each as a list shows it."""
    parts: list[str] = []
    size = 0
    for record in records:
        parts.append(encode(record.to_dict(brief=True)))
        size += len(parts[-1])
        if size >= TURN:
            size = 0
            await asyncio.sleep(0)
    return f"[{','.join(parts)}]".encode("ascii")
