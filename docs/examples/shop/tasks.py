"""The shop's background tasks, and the manager that runs them."""

from __future__ import annotations

import asyncio
import os
import time
from decimal import Decimal

from shop import payments
from taskflow import (
    FileLogger,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    TaskObserver,
    get_task_context,
    task_log,
)


def observers() -> list[TaskObserver]:
    """Metrics always; traces and JSON lines for a log shipper, if environment variables say where they go."""
    chosen: list[TaskObserver] = [PrometheusObserver()]
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        chosen.append(OpenTelemetryObserver())
    if lines := os.environ.get("SHOP_JSON_LOG_FILE"):
        chosen.append(FileLogger(lines, mode="watched", format="json", log_lifecycle=True))
    return chosen


manager = TaskManager(
    snapshot_db=os.environ.get("SHOP_DB", "shop.db"),
    requeue_pending=True,
    snapshot_interval=5.0,
    loggers=observers(),
    log_file=os.environ.get("SHOP_LOG_FILE", "shop.log"),
    log_lifecycle=True,
    max_concurrent_tasks=20,
    max_sync_threads=4,
)


@manager.task(retries=2, delay=0.2, backoff=2.0, persist=True)
async def charge_card(order: int, amount: Decimal) -> None:
    """Stored before the order is confirmed, and tried up to three times: the provider fails now and then."""
    context = get_task_context()
    attempt = context.attempt if context else 0
    task_log(f"charging {amount} EUR for order {order}", attempt=attempt + 1)
    receipt = await payments.charge(order, amount, attempt=attempt)
    task_log(f"order {order} is paid", receipt=receipt)


@manager.task(retries=3, delay=0.1, backoff=2.0)
async def send_email(address: str, subject: str) -> None:
    """Async and quick: most tasks of most applications look like this."""
    await asyncio.sleep(0.02)  # the mail server
    task_log(f"sent {subject!r} to {address}")


@manager.task(name="render_invoice")
def write_invoice(order: int, amount: Decimal) -> None:
    """Sync: runs in a thread, so that it may block. Registered under a name of its own."""
    time.sleep(0.08)  # the PDF library
    task_log(f"invoice of order {order}: {amount} EUR", level="debug")


@manager.task()
def count_stock() -> None:
    """Sync, and started by a timer instead of a request."""
    time.sleep(0.03)  # the warehouse's database
    task_log("stock counted; 3 articles are running low", level="warning")
