"""The application that is killed: durable tasks of every temper, and routes that order them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from taskflow import CommitError, FileLogger, ManagedBackgroundTasks, TaskManager, get_task_context
from tests.chaos.place import Place
from tests.chaos.tempers import TEMPERS, Temper
from tests.chaos.witness import Witness

RETRY_DELAY = 0.1

Dispatch = Literal["request", "detached"]


class Order(BaseModel):
    """A task to add."""

    task: str
    number: int
    key: str | None = None


@dataclass(frozen=True)
class Parcel:
    """What a task gets: not what JSON would make of it."""

    number: int
    packed: datetime


def new_manager(place: Place, dispatch: Dispatch) -> TaskManager:
    """A manager that notices soon when others, or it itself, were gone."""
    return TaskManager(
        snapshot_backend=place.backend(),
        snapshot_interval=0.5,
        loggers=[FileLogger(str(place.folder / "events-{pid}.log"), log_lifecycle=True, format="json")],
        encrypt_args_key=place.key,
        dispatch=dispatch,
        max_concurrent_tasks=place.slots,
        shutdown_timeout=place.grace,
        heartbeat_interval=place.lease / 3,
        lease_timeout=place.lease,
        rescue_interval=place.look,
    )


def new_function(temper: Temper, place: Place, witness: Witness) -> Callable[..., Any]:
    """A function that behaves so, and tells the witness."""

    def end(number: int) -> None:
        context = get_task_context()
        assert context is not None
        if context.attempt < temper.failures:
            witness.note("fail", number)
            raise RuntimeError("as it was told to")
        witness.note("end", number)

    def work_in_a_thread(parcel: Parcel) -> None:
        witness.note("begin", parcel.number)
        time.sleep(temper.seconds)
        end(parcel.number)

    async def work(parcel: Parcel) -> None:
        witness.note("begin", parcel.number)
        await asyncio.sleep(temper.seconds)
        while temper.gated and not place.gate(parcel.number).exists():  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(0.02)
        end(parcel.number)

    return work_in_a_thread if temper.threaded else work


def new_app(place: Place, dispatch: Dispatch) -> FastAPI:
    """The application, with a manager of its own."""
    manager, witness = new_manager(place, dispatch), Witness(place.witness)
    functions = {}
    for name, temper in TEMPERS.items():
        register = manager.task(
            name=name,
            persist=True,
            requeue_on_interrupt=temper.again,
            retries=temper.retries,
            delay=RETRY_DELAY,
        )
        functions[name] = register(new_function(temper, place, witness))
    app = FastAPI()
    manager.init_app(app)
    given = Depends(manager.get_tasks)

    def parcel(order: Order) -> Parcel:
        return Parcel(order.number, datetime.now().astimezone())

    @app.post("/orders")
    async def add(orders: list[Order], tasks: ManagedBackgroundTasks = given) -> list[str]:
        return [tasks.add_task(functions[o.task], parcel(o), idempotency_key=o.key) for o in orders]

    @app.post("/orders/from-a-thread")
    def add_from_a_thread(orders: list[Order], tasks: ManagedBackgroundTasks = given) -> list[str]:
        return [tasks.add_task(functions[o.task], parcel(o), idempotency_key=o.key) for o in orders]

    @app.post("/orders/by-the-manager")
    async def enqueue(orders: list[Order]) -> list[str]:
        ids = [manager.enqueue(functions[o.task], parcel(o), idempotency_key=o.key) for o in orders]
        try:
            for task_id in ids:
                await manager.committed(task_id)
        except CommitError as error:
            raise HTTPException(503) from error
        return ids

    return app


def serve(place: Place, dispatch: Dispatch, port: int) -> None:
    """Be an instance of the application until a signal comes."""
    log = os.open(place.server_log(port), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    uvicorn.run(new_app(place, dispatch), host="127.0.0.1", port=port, log_level="warning")
