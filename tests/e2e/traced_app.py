"""The app that `test_jaeger.py` starts: traced by FastAPI, Taskflow and the httpx instrumentation.

Configured by environment variables; prints its port as soon as that is open.
"""

import asyncio
import os
import socket
import sys
from typing import Annotated

import httpx
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from taskflow import ManagedBackgroundTasks, OpenTelemetryObserver, TaskManager, get_task_context, task_log
from taskflow.observers import otlp

ENV = os.environ
LIMIT = int(ENV["LIMIT"]) if "LIMIT" in ENV else None


def exporter() -> SpanExporter:
    if ENV.get("EXPORTER") == "grpc":
        return GrpcExporter(endpoint=ENV["ENDPOINT"], insecure=True)
    return HttpExporter(endpoint=ENV["ENDPOINT"] + "/v1/traces")


def processor() -> BatchSpanProcessor:
    if ENV.get("EXPORTER") == "taskflow":
        return otlp.BatchSpanProcessor(
            otlp.OTLPSpanExporter(ENV["ENDPOINT"] + "/v1/traces"), max_queue_size=50_000
        )
    return BatchSpanProcessor(exporter(), max_queue_size=50_000)


def own_provider() -> TracerProvider:
    provider = TracerProvider(resource=Resource.create({"service.name": ENV["SERVICE"], "ip": "127.0.0.1"}))
    provider.add_span_processor(processor())
    return provider


# Without one of its own, the app has what FastAPI sets up from OTEL_* variables when it starts.
provider = own_provider() if "ENDPOINT" in ENV else None
HTTPXClientInstrumentor().instrument(tracer_provider=provider)

app = FastAPI(telemetry={"tracer_provider": provider, "metrics": False, "auto_configure": provider is None})
manager = TaskManager(
    loggers=[
        OpenTelemetryObserver(
            provider,
            propagation=ENV.get("PROPAGATION", "child"),
            lean_spans=ENV.get("LEAN_SPANS") != "no",  # both must pass everything
        )
    ],
    dispatch=ENV.get("DISPATCH", "request"),
    max_concurrent_tasks=LIMIT,
    max_sync_threads=LIMIT,
    shutdown_timeout=float(ENV.get("SHUTDOWN_TIMEOUT", "10")),
    snapshot_db=ENV.get("DB"),
    lease_timeout=1.0,
    heartbeat_interval=0.3,
    rescue_interval=0.3,
)
manager.init_app(app)
Tasks = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]

listener = socket.create_server(("127.0.0.1", 0))
URL = f"http://127.0.0.1:{listener.getsockname()[1]}"


@app.get("/bank")
async def bank(attempt: int) -> str:
    if attempt < 2:
        raise HTTPException(503, "the bank is closed")
    return "charged"


def attempt() -> int:
    task = get_task_context()
    assert task is not None
    return task.attempt


@manager.task(retries=2, delay=0.01, name="charge_card")
async def charge(order: int) -> None:
    task_log("calling the bank", order=order, attempt=attempt())
    async with httpx.AsyncClient() as client:
        (await client.get(f"{URL}/bank", params={"attempt": attempt()})).raise_for_status()


@manager.task(retries=2, delay=0.01, name="charge_card_in_a_thread")
def charge_in_a_thread(order: int) -> None:
    task_log("calling the bank", order=order, attempt=attempt())
    httpx.get(f"{URL}/bank", params={"attempt": attempt()}).raise_for_status()


@manager.task()
async def quick() -> None:
    await asyncio.sleep(0)


@manager.task()
def quick_in_a_thread() -> None: ...


@manager.task()
async def fail() -> None:
    raise LookupError("no such order")


@manager.task()
async def hang() -> None:
    await asyncio.Event().wait()


@manager.task(retries=1, persist=True, requeue_on_interrupt=True)
async def deliver() -> None:
    if attempt() == 0:
        raise ConnectionError("nobody at home")
    if "HANG" in ENV:
        await asyncio.Event().wait()


FUNCTIONS = {"async": charge, "def": charge_in_a_thread}


@app.post("/orders/async/{kind}")
async def order_async(kind: str, tasks: Tasks) -> str:
    return tasks.add_task(FUNCTIONS[kind], 1, tags={"shop": "books"})


@app.post("/orders/def/{kind}")
def order_sync(kind: str, tasks: Tasks) -> str:
    return tasks.add_task(FUNCTIONS[kind], 1, tags={"shop": "books"})


@app.post("/batch/{size}")
async def batch(size: int, tasks: Tasks) -> list[str]:
    return [tasks.add_task(quick_in_a_thread if number % 10 == 0 else quick) for number in range(size)]


@app.post("/fail")
async def failing(tasks: Tasks) -> str:
    return tasks.add_task(fail)


@app.post("/deliver")
async def delivering(tasks: Tasks) -> str:
    return tasks.add_task(deliver)


@app.post("/hang")
async def hanging() -> str:
    return manager.enqueue(hang)


@app.get("/status/{task_id}")
async def status(task_id: str) -> str | None:
    record = manager.store.get(task_id)
    return record and record.status.value


@app.delete("/{task_id}")
async def cancel(task_id: str) -> None:
    manager.cancel(task_id)


if __name__ == "__main__":
    sys.stdout.write(f"{URL}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
