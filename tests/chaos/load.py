"""Clients that order tasks, and remember what they were promised."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any, Self

from tests.chaos.instance import Instance
from tests.chaos.tempers import ORDINARY

ROUTES = ("/orders", "/orders/from-a-thread", "/orders/by-the-manager")

UNREACHABLE = (OSError, HTTPException)
"""What an instance that is killed does to a client."""

PAUSE = 0.02
"""Seconds after which a client tries again."""


@dataclass(frozen=True)
class Promise:
    """A task that was acknowledged: its id, what was ordered, and with which idempotency key, if any."""

    task_id: str
    task: str
    number: int
    key: str | None


class Load:
    """Clients in threads, each with one request at a time, while the block lasts.

    A client that had no answer to orders with keys sends them again: that is what keys are for.

    Args:
        instances: where orders are sent, at random.
        seed: of what is ordered.
        clients: how many.

    Attributes:
        promises: what was acknowledged.
        refused: how often the answer was 503.
        surprises: any other answers.
    """

    def __init__(self, instances: Sequence[Instance], seed: int, clients: int = 4) -> None:
        self.promises: list[Promise] = []
        self.refused = 0
        self.surprises: list[str] = []
        self._instances = instances
        self._numbers = count()
        self._stopping = threading.Event()
        self._clients = [
            threading.Thread(target=self._order, args=(random.Random(f"{seed}-{n}"),), daemon=True)
            for n in range(clients)
        ]

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for client in self._clients:
            client.join()

    def _order(self, chance: random.Random) -> None:
        orders: list[dict[str, Any]] = []
        while not self._stopping.is_set():
            orders = orders or self._new_orders(chance)
            answered = False
            with suppress(*UNREACHABLE):
                answered = self._send(chance, orders)
            if answered or not all(order["key"] for order in orders):
                orders = []
            if not answered:
                time.sleep(PAUSE)

    def _new_orders(self, chance: random.Random) -> list[dict[str, Any]]:
        orders = []
        keyed = chance.random() < 0.3
        for _ in range(chance.choice((1, 1, 2, 3))):
            number = next(self._numbers)
            key = f"key-{number}" if keyed else None
            orders.append({"task": chance.choice(list(ORDINARY)), "number": number, "key": key})
        return orders

    def _send(self, chance: random.Random, orders: list[dict[str, Any]]) -> bool:
        """Whether the orders were acknowledged."""
        status, answer = ask(chance.choice(self._instances), orders, chance.choice(ROUTES))
        if status == 200:
            self.promises += promised(answer, orders)
        elif status == 503:
            self.refused += 1
        else:
            self.surprises.append(f"{status} {answer.decode()}")
        return status == 200


def ask(instance: Instance, orders: Sequence[dict[str, Any]], route: str = ROUTES[0]) -> tuple[int, bytes]:
    """Send orders to an instance; gives the status and the body of its answer.

    Raises:
        OSError, http.client.HTTPException: there was none.
    """
    connection = HTTPConnection("127.0.0.1", instance.port, timeout=30)
    try:
        connection.request("POST", route, json.dumps(orders), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def promised(answer: bytes, orders: Sequence[dict[str, Any]]) -> list[Promise]:
    """What an acknowledgement of orders says."""
    return [Promise(task_id, **order) for task_id, order in zip(json.loads(answer), orders, strict=True)]
