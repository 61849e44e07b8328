"""How tests talk to an application that a `TaskAdmin` is mounted on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from taskflow import TaskAdmin, TaskManager
from tests.processes import PATIENCE


def admin_app(manager: TaskManager, **options: Any) -> FastAPI:
    """A new application with the manager's admin."""
    app = FastAPI()
    TaskAdmin(app, manager, **options)
    return app


def client(app: Any, **options: Any) -> httpx.AsyncClient:
    """Talks to the application on the test's own event loop, without its lifespan: start the manager."""
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="http://app")


@dataclass
class Message:
    """A server-sent event."""

    id: str | None
    event: str
    data: Any


class Listener:
    """An open stream: what came first is read first."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def blocks(self) -> Iterator[dict[str, str]]:
        """The fields of each block of lines; a comment is a field without a name."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields:
                yield fields
                fields = {}

    def messages(self, *events: str) -> Iterator[Message]:
        """The messages of these kinds."""
        for block in self.blocks():
            if block.get("event") in events:
                yield Message(block.get("id"), block["event"], json.loads(block["data"]))


@contextmanager
def listening(
    url: str, last_event_id: str | None = None, cookies: httpx.Cookies | None = None, **params: str
) -> Iterator[Listener]:
    """A client of the stream that has been let in: its first block has come."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    if cookies is not None:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    stream = httpx.stream("GET", f"{url}/tasks/stream", params=params, headers=headers, timeout=PATIENCE)
    with stream as response:
        listener = Listener(response)
        if response.is_success:
            next(listener.blocks())
        yield listener
