"""The customers of the demo."""

from __future__ import annotations

import random
import threading

import httpx


class Traffic(threading.Thread):
    """Customers: real HTTP requests at a steady rate, the same ones in every run.

    Args:
        base_url: where the shop is.
        rate: requests per second.

    Attributes:
        sent: requests that were answered with a success.
    """

    def __init__(self, base_url: httpx.URL, rate: float) -> None:
        super().__init__(name="traffic", daemon=True)
        self.sent = 0
        self._base_url = base_url
        self._pause = 1 / rate
        self._closed = threading.Event()
        self._chance = random.Random(2026)  # noqa: S311 - customers, not secrets

    def run(self) -> None:
        """Send requests until `close`."""
        with httpx.Client(base_url=self._base_url) as client:
            while not self._closed.wait(self._pause):
                try:
                    self.sent += self._send(client).is_success
                except httpx.TransportError as error:
                    print(f"  (no answer: {error})", flush=True)

    def _send(self, client: httpx.Client) -> httpx.Response:
        person = {"email": f"customer{self._chance.randrange(200)}@example.com"}
        if self._chance.random() < 1 / 3:
            return client.post("/signups", json=person | {"plan": self._chance.choice(["free", "pro"])})
        amount = f"{self._chance.randrange(500, 20_000) / 100:.2f}"
        return client.post("/orders", json=person | {"amount": amount})

    def close(self) -> None:
        """Stop, and wait for the answer to the last request."""
        self._closed.set()
        self.join()
