"""Step 5: the request and its task as one trace."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
)

from taskflow import (
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskAdmin,
    TaskManager,
    get_task_context,
    task_log,
)


def one_line(span: ReadableSpan) -> str:
    """A span as a line on the console: its trace, its name, and how it ended."""
    return f"trace {span.context.trace_id:032x}  {span.name}: {span.status.status_code.name}\n"


def exporter() -> SpanExporter:
    """Where the spans go: to a collector such as Jaeger if the environment names one."""
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        return OTLPSpanExporter()
    return ConsoleSpanExporter(formatter=one_line)


provider = TracerProvider(resource=Resource.create({"service.name": "tutorial"}))
provider.add_span_processor(BatchSpanProcessor(exporter()))
app = FastAPI(telemetry={"tracer_provider": provider})
task_manager = TaskManager(loggers=[PrometheusObserver(), OpenTelemetryObserver(provider)])
TaskAdmin(app, task_manager, trace_url="http://localhost:16686/trace/{trace_id}")
Tasks = Annotated[ManagedBackgroundTasks, Depends(task_manager.get_tasks)]


@task_manager.task(retries=3, delay=0.5, backoff=2.0)
def send_welcome(address: str) -> None:
    """The mail server is a stand-in: it is busy the first time."""
    context = get_task_context()
    if context is not None and context.attempt == 0:
        raise ConnectionError(f"busy, {address} has to wait")
    task_log(f"sent to {address}")


@app.post("/signups", status_code=202)
async def sign_up(address: str, tasks: Tasks) -> dict[str, str]:
    """Answer first; the task runs afterwards."""
    return {"task_id": tasks.add_task(send_welcome, address)}
