"""Microseconds of processor time that a task takes with everything observed; all threads count."""

import asyncio
import gc
import time

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from taskflow import (
    FileLogger,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    task_log,
)

TASKS = 10_000


class NullExporter(SpanExporter):
    """Takes the spans and forgets them."""

    def export(self, spans: object) -> SpanExportResult:
        """Nothing."""
        return SpanExportResult.SUCCESS


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(NullExporter(), max_queue_size=100_000))
manager = TaskManager(
    loggers=[
        OpenTelemetryObserver(provider),
        PrometheusObserver(CollectorRegistry()),
        FileLogger("tasks.log", log_lifecycle=True, format="json", backup_count=0),
    ],
    handle_signals=False,
)


@manager.task(name="noop")
async def noop() -> None:
    """A line and nothing else."""
    task_log("sent")


async def requests(count: int) -> None:
    """So many, with one task each; ends when all that was put off is done."""
    for _ in range(count):
        tasks = ManagedBackgroundTasks(manager)
        tasks.add_task(noop)
        await tasks()
    assert manager.logger is not None
    await manager.logger.flush()
    provider.force_flush()


async def main() -> None:
    """Warm up, measure, print."""
    async with manager:
        await requests(1_000)
        gc.collect()
        gc.freeze()
        began = time.process_time()
        await requests(TASKS)
        print(1e6 * (time.process_time() - began) / TASKS)
    provider.shutdown()


asyncio.run(main())
