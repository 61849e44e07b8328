"""Server-sent events: messages in that format, and the response that carries them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from taskflow.admin.replies import encode

__all__ = ["EventStreamResponse", "frame"]

logger = logging.getLogger("taskflow")

SEND_TIMEOUT = 20.0
"""Seconds without a read after which the stream of a client ends.

What the server has buffered for the client stays until the connection breaks. uvicorn's shutdown waits for
that; ``--timeout-graceful-shutdown`` limits how long.
"""

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # or nginx collects messages before it sends them
    "X-Content-Type-Options": "nosniff",
}


def frame(event: str, data: object, position: str | None = None) -> bytes:
    """One message. A browser that reconnects sends the last ``position`` back, as ``Last-Event-ID``."""
    return format_sse_event(data_str=encode(data), event=event, id=position)


class EventStreamResponse(Response):
    """Sends chunks of messages until there are no more, or the client disconnects or stops reading.

    FastAPI's `EventSourceResponse` has no such timeout.

    Args:
        chunks: the messages; the generator is closed at the end.
        send_timeout: seconds that the client may take for a chunk.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes, None], send_timeout: float = SEND_TIMEOUT) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._chunks = chunks
        self._send_timeout = send_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        # Only `receive` tells that a client has disconnected.
        gone = asyncio.ensure_future(_disconnected(receive))
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.wait({gone, sending})
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        async with aclosing(self._chunks) as chunks:
            try:
                await self._within(send, start)
                async for chunk in chunks:
                    await self._within(send, {"type": "http.response.body", "body": chunk, "more_body": True})
                await self._within(send, {"type": "http.response.body", "body": b"", "more_body": False})
            except TimeoutError:
                logger.info(
                    "a client of the stream read nothing for %g s: its stream ends", self._send_timeout
                )

    async def _within(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._send_timeout):
            await send(message)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
