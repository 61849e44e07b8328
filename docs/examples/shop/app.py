"""The shop's HTTP side. Start it from this folder's parent: ``uvicorn shop.app:app``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from itertools import count
from random import randrange
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field

from shop.tasks import charge_card, count_stock, manager, send_email, write_invoice
from taskflow import ManagedBackgroundTasks, TaskAdmin
from taskflow.core.exceptions import ManagerClosedError

Tasks = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]

STOCK_INTERVAL = 3.0  # seconds
JAEGER_TRACE = "http://localhost:16686/trace/{trace_id}"
# A random start: the idempotency keys of the orders of earlier runs are still in the database.
order_numbers = count(randrange(1, 10_000) * 1_000)  # noqa: S311 - a number, not a secret


class SignUp(BaseModel):
    """Somebody who wants an account."""

    email: str = Field(pattern=r"^\S+@\S+$", examples=["ada@example.com"])
    plan: str = Field(default="free", examples=["free", "pro"])


class Order(BaseModel):
    """What somebody buys."""

    email: str = Field(pattern=r"^\S+@\S+$", examples=["ada@example.com"])
    amount: Decimal = Field(gt=0, examples=["19.90"])


async def count_stock_regularly() -> None:
    """A task does not need a request: `TaskManager.enqueue` works anywhere."""
    with suppress(ManagerClosedError):  # no new tasks while the application stops
        while True:
            manager.enqueue(count_stock, tags={"trigger": "timer"})
            await asyncio.sleep(STOCK_INTERVAL)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The application's own start and stop: Taskflow starts after this has started, and stops before."""
    timer = asyncio.create_task(count_stock_regularly())
    yield
    timer.cancel()
    with suppress(asyncio.CancelledError):
        await timer


# FastAPI traces its requests, and sends the spans to OTEL_EXPORTER_OTLP_ENDPOINT if that is set. Metrics
# and logs are off: Jaeger does not take them.
app = FastAPI(
    title="Taskflow demo: a shop",
    lifespan=lifespan,
    telemetry={"auto_configure": True, "metrics": False, "logs": False},
)
TaskAdmin(
    app,
    manager,
    title="A shop's tasks",
    display_func_args=True,
    trace_url=JAEGER_TRACE if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ else None,
)


@app.get("/")
async def index() -> dict[str, str]:
    """Where to look next."""
    return {"dashboard": "/tasks/dashboard", "docs": "/docs", "metrics": "/metrics"}


@app.post("/signups", status_code=202)
async def sign_up(person: SignUp, tasks: Tasks) -> dict[str, str]:
    """Greet a new customer. The key greets them once, however often the form is sent."""
    task_id = tasks.add_task(
        send_email,
        person.email,
        "Welcome!",
        idempotency_key=f"welcome:{person.email}",
        tags={"plan": person.plan},
    )
    return {"task_id": task_id}


@app.post("/orders", status_code=202)
def order(order: Order, tasks: Tasks) -> dict[str, Any]:
    """Take an order: the card, the invoice and the confirmation follow after the response."""
    number = next(order_numbers)
    tags = {"order": str(number)}
    added = [
        tasks.add_task(charge_card, number, order.amount, idempotency_key=f"charge:{number}", tags=tags),
        tasks.add_task(write_invoice, number, order.amount, tags=tags),
        tasks.add_task(send_email, order.email, f"Your order {number}", tags=tags),
    ]
    return {"order": number, "task_ids": added}


@app.get("/task/{task_id}")
async def show_task(task_id: str) -> dict[str, Any]:
    """What is known of one task, also when it has left the memory or belongs to an earlier run."""
    record = await manager.history.get(task_id)
    if record is None:
        raise HTTPException(404, f"no task {task_id}")
    return record.to_dict()
