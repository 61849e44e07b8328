"""Models of the answers, for the OpenAPI schema."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from taskflow.core.models import TaskStatus

__all__ = [
    "ActionResult",
    "ErrorAnswer",
    "Health",
    "MetricsSummary",
    "OverviewAnswer",
    "Task",
    "TaskDetail",
    "error_answers",
]


class ErrorAnswer(BaseModel):
    """Why a request was refused."""

    detail: str


class Attempt(BaseModel):
    """A failed attempt that was followed by another one."""

    started_at: AwareDatetime
    ended_at: AwareDatetime
    error: str
    error_type: str
    next_delay: float = Field(description="seconds that the next attempt had to wait")


class Task(BaseModel):
    """A task's record."""

    task_id: str
    func_name: str = Field(description="registered name of the function")
    status: TaskStatus
    created_at: AwareDatetime
    start_time: AwareDatetime | None = Field(description="when the first attempt started")
    end_time: AwareDatetime | None
    duration: float | None = Field(description="seconds from the first start to the end")
    retries_used: int
    max_retries: int
    attempt: int = Field(description="the latest attempt: 0 for the first run, which pages show as 1")
    error: str | None
    error_type: str | None = Field(description="qualified class name of the exception")
    stacktrace: str | None
    logs: list[str] = Field(
        description="lines as `<RFC 3339 time> <LEVEL> <message>`: the first and the last 500, or 32 KiB of "
        "each; where lines were cut between them, one that begins with `… cut: ` tells how many"
    )
    idempotency_key: str | None
    tags: dict[str, str]
    retry_of: str | None = Field(description="id of the task that this one repeats")
    reason: str | None = Field(description="why the task was interrupted, cancelled, requeued or rescued")
    durable: bool = Field(description="whether it survives a crash of its process")
    duplicate_of: str | None = Field(description="id of the task that held its idempotency key first")
    attempt_started: AwareDatetime | None = Field(description="when the latest attempt started")
    failed_attempts: list[Attempt]
    next_attempt_at: AwareDatetime | None = Field(description="when the next attempt is due")


class Arguments(BaseModel):
    """The arguments of a call, each as its `repr`; long ones are cut."""

    args: list[str]
    kwargs: dict[str, str]


class TaskDetail(Task):
    """A task's record, with arguments, trace and retry."""

    arguments: Arguments | None = Field(
        description="null unless `display_func_args=True`; of a task that has succeeded, 1 KiB of them"
    )
    arguments_error: str | None = Field(description="why the arguments cannot be shown")
    trace_id: str | None = Field(description="lowercase hex, where the task was traced")
    trace_url: str | None = Field(description="where to see the trace")
    retried_by: str | None = Field(description="id of the task that repeats this one")


class ActionResult(BaseModel):
    """The task that an action made or changed."""

    task_id: str
    task: Task


class Percentiles(BaseModel):
    """Percentiles of the durations of tasks that ended in the last ten minutes, in seconds.

    They are off by 5 % at most; null if no task ended.
    """

    p50: float | None
    p95: float | None
    p99: float | None


class StatusCounts(BaseModel):
    """How many tasks there are in each state."""

    pending: int
    running: int
    retrying: int
    success: int
    failed: int
    interrupted: int
    cancelled: int


class TaskMetrics(StatusCounts):
    """What this process has seen of the tasks of one name, since it started."""

    func_name: str
    registered: bool
    success_rate: float | None
    percentiles: Percentiles


class MetricsSummary(StatusCounts):
    """Totals of the history; without a backend, of what this process has seen since it started."""

    total: int
    success_rate: float | None = Field(ge=0, le=1, description="share of the finished; null before the first")
    avg_duration_seconds: float | None = Field(description="mean over the finished that had started")
    percentiles: Percentiles
    per_task: list[TaskMetrics]


class PoolLevel(BaseModel):
    """How full a pool is."""

    pool: str = Field(description="`async`: slots; `thread`: threads")
    slots: int | None = Field(description="null if unlimited")
    in_use: int
    waiting: int


class TaskActivity(Percentiles):
    """What this process has seen of the tasks of one name."""

    func_name: str
    registered: bool
    counts: StatusCounts = Field(
        description="unfinished tasks now, and finished ones since the process started"
    )
    throughput: list[int] = Field(
        description="tasks that ended, for each bucket; the last bucket is the present"
    )
    failures: list[int] = Field(description="tasks that failed, for each bucket")
    latency_p95: list[float | None] = Field(description="seconds, for each bucket; null if no task ended")


class OldestTasks(BaseModel):
    """For each state, the seconds that one task has been in it for longest; null without a task."""

    pending: float | None
    running: float | None
    retrying: float | None


class ObserverLevel(BaseModel):
    """How one observer keeps up."""

    name: str
    errors: int
    dropped: int
    queue: int


class BackendTrouble(BaseModel):
    """What is wrong with the backend."""

    error: str


class Health(BaseModel):
    """Whether the manager can do its work."""

    ok: bool
    reasons: list[str] = Field(description="why not")
    waiting: list[str] = Field(description="stored tasks that nobody runs until somebody does something")


class OverviewAnswer(BaseModel):
    """The numbers that the dashboard shows above its list."""

    now: AwareDatetime
    counts: StatusCounts
    success_rate: float | None
    pools: list[PoolLevel]
    tasks: list[TaskActivity] = Field(
        description="each function that is registered or ran; the busiest first"
    )
    bucket_seconds: int
    buckets: int
    oldest: OldestTasks
    observers: list[ObserverLevel]
    backend: BackendTrouble | None
    health: Health


def error_answers(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for a route's ``responses``."""
    return {code: {"model": ErrorAnswer, "description": DESCRIPTIONS[code]} for code in codes}


DESCRIPTIONS = {
    400: "The task's state does not allow it",
    401: "No valid session",
    403: "The request comes from a page of another origin",
    404: "No task has this id",
    409: "This task does not allow it",
    422: "A parameter has a wrong value",
    503: "The manager is stopping, or its backend cannot be used",
}
