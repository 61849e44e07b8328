"""What a backend costs: changes of durable tasks, the history, and questions to a million rows of it.

Each function takes any backend that is open.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from taskflow import TaskRecord, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import Change, SnapshotBackend
from taskflow.persistence.rows import RELEASED, TaskRow, to_row

TASKS = 20_000
GROUP = 50
BATCH = 500
HISTORY = 1_000_000
FUNCTIONS = 20
OPEN = 2_000
ROUNDS = 9

OWNER = "instance"
START = datetime(2026, 1, 1, tzinfo=UTC)

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one question: the median of several rounds, the slowest of them, and rows answered."""

    median: float
    slowest: float
    rows: int


# Rows


def template() -> TaskRow:
    """A durable task as a small one is: a traced one, with two arguments."""
    record = TaskRecord(
        "",
        "send_mail",
        created_at=START,
        durable=True,
        registered=True,
        payload=b'{"args": ["someone@example.com"], "kwargs": {"subject": "Welcome"}}',
        code_function="shop.tasks.send_mail",
        trace_context={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        tags={"customer": "17"},
    )
    return to_row(record, OWNER)


def ended(row: TaskRow, status: TaskStatus = SUCCESS) -> TaskRow:
    """The same task once it has ended."""
    return replace(row, status=status, owner=None, ended=row.created + 5_000, duration=0.005)


def history(count: int) -> Iterator[TaskRow]:
    """Rows of tasks that have ended, a second apart: 1 in 100 failed, 1 in 10,000 was cancelled."""
    model = replace(template(), durable=False)
    for number in range(count):
        status = CANCELLED if number % 10_000 == 0 else FAILED if number % 100 == 0 else SUCCESS
        name = f"function_{number % FUNCTIONS}"
        task_id = str(uuid4())
        row = replace(
            model,
            task_id=task_id,
            func_name=name,
            created=model.created + number * 1_000_000,
            search=f"{name}\n{task_id}\ncustomer=17\n",
        )
        yield ended(row, status)


def batches(rows: Iterator[TaskRow], size: int) -> Iterator[list[TaskRow]]:
    """The rows, ``size`` at a time."""
    while batch := [row for _, row in zip(range(size), rows, strict=False)]:
        yield batch


# Changes and history


async def change_cost(backend: SnapshotBackend, tasks: int = TASKS, group: int = GROUP) -> float:
    """Microseconds for each of the three changes of a durable task, committed one group after the other."""
    model = template()
    pending = [replace(model, task_id=str(uuid4())) for _ in range(tasks)]
    seconds = 0.0
    for rows in batches(iter(pending), group):
        running = [replace(row, status=RUNNING) for row in rows]
        steps = [
            [Change(row) for row in rows],
            [Change(row, (OWNER, PENDING)) for row in running],
            [Change(ended(row), (OWNER, RUNNING)) for row in running],
        ]
        start = time.perf_counter()
        outcomes = [outcome for step in steps for outcome in await backend.commit(step)]
        seconds += time.perf_counter() - start
        assert all(outcome.applied for outcome in outcomes)
    return 1e6 * seconds / (3 * tasks)


async def save_seconds(backend: SnapshotBackend, tasks: int = TASKS) -> float:
    """Seconds to save that many rows of history, `BATCH` at a time."""
    seconds = 0.0
    for rows in batches(history(tasks), BATCH):
        start = time.perf_counter()
        await backend.save(rows)
        seconds += time.perf_counter() - start
    return seconds


# Questions


async def fill(backend: SnapshotBackend, count: int = HISTORY) -> None:
    """Store a long history, and after it tasks that are open: half of them owned, half of them released."""
    for rows in batches(history(count), BATCH):
        await backend.save(rows)
    await backend.acquire(OWNER)
    model = replace(template(), created=template().created + count * 1_000_000)
    for number in range(0, OPEN, BATCH):
        owner = OWNER if number < OPEN // 2 else RELEASED
        rows = [replace(model, task_id=str(uuid4()), owner=owner) for _ in range(BATCH)]
        await backend.commit([Change(row) for row in rows])


async def answers(backend: SnapshotBackend, count: int = HISTORY) -> dict[str, Latency]:
    """How long pages of 100 rows of that history take, and what an instance asks for every few seconds."""
    middle = START + timedelta(seconds=count / 2)
    (row,) = await backend.find(TaskQuery(until=middle, limit=1))
    queries = {
        "newest": TaskQuery(),
        "after a cursor in the middle": TaskQuery(after=row.cursor),
        "pending": TaskQuery(status=[PENDING]),
        "failed (1 in 100)": TaskQuery(status=[FAILED]),
        "cancelled (1 in 10,000)": TaskQuery(status=[CANCELLED]),
        "success or failed, after a cursor": TaskQuery(status=[SUCCESS, FAILED], after=row.cursor),
        "one function": TaskQuery(func_name="function_7"),
        "one function, failed": TaskQuery(func_name="function_0", status=[FAILED], after=row.cursor),
        "an hour in the middle": TaskQuery(since=middle, until=middle + timedelta(hours=1)),
        "a tag that all have": TaskQuery(tag="customer=17"),
        "a tag that nobody has": TaskQuery(tag="customer=18"),
        "q that matches often": TaskQuery(q="function_7"),
        "q that matches nothing": TaskQuery(q="nothing like it"),
    }
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        name: lambda query=query: backend.find(query) for name, query in queries.items()
    }
    calls["claimable"] = lambda: backend.claimable(["send_mail"], 100)
    calls["unclaimable"] = lambda: backend.unclaimable(["other"])
    calls["get"] = lambda: backend.get(row.task_id)
    calls["count"] = backend.count
    return {name: await latency(call) for name, call in calls.items()}


async def latency(call: Callable[[], Awaitable[object]]) -> Latency:
    """How long a call takes; the first one does not count."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        answer = await call()
        times.append(1e3 * (time.perf_counter() - start))
    return Latency(
        statistics.median(times[1:]), max(times[1:]), len(answer) if isinstance(answer, list) else 1
    )
