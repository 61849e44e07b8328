"""Queries for records: filters and pages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from taskflow.core.checks import check_choice, check_int, check_storable, check_text, storable
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskRecord, TaskStatus

__all__ = [
    "MAX_PAGE",
    "Cursor",
    "TaskQuery",
    "labels",
    "microseconds",
    "moment",
    "search_error",
    "search_names",
    "search_text",
]

MAX_PAGE = 1_000
"""Most records of one page."""

ERROR_SEARCHED = 1_000
"""Only this many characters of an error can be searched."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment: exact, unlike `datetime.timestamp`."""
    return (moment - EPOCH) // MICROSECOND


def moment(microseconds: int) -> datetime:
    """The inverse of `microseconds`: an aware moment in UTC."""
    return EPOCH + microseconds * MICROSECOND


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """The place of a record in the listing: newest first, records of the same moment by id.

    Attributes:
        created: when it was enqueued, microseconds since 1970.
        task_id: the record.
    """

    created: int
    task_id: str

    @classmethod
    def of(cls, record: TaskRecord) -> Self:
        """The place of a record."""
        return cls(microseconds(record.created_at), record.task_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str()`` wrote.

        Raises:
            ConfigurationError: the text is not a cursor.
        """
        created, found, task_id = text.partition("-")
        if not (found and task_id and created.isascii() and created.isdigit() and len(created) < 18):
            raise ConfigurationError("cursor", text, "must be one that a former page gave")
        return cls(int(created), check_storable("cursor", task_id))

    def __str__(self) -> str:
        return f"{self.created}-{self.task_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which records to return, newest first. A record must match all filters.

    Attributes:
        status: any of these states; all if empty.
        func_name: exactly this registered name.
        tag: ``"key=value"``, or ``"key"`` for any value.
        since: enqueued at this aware moment or later.
        until: enqueued before this aware moment.
        q: text to find in the name, id, tags or error; upper and lower case are the same.
        limit: most records to return, 1 to 1,000.
        after: only records after this place in the listing.

    Raises:
        ConfigurationError: a value is out of range or of the wrong type.
    """

    status: Collection[TaskStatus] = ()
    func_name: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None
    limit: int = 100
    after: Cursor | None = None

    def __post_init__(self) -> None:
        check_int("limit", self.limit, minimum=1)
        if self.limit > MAX_PAGE:
            raise ConfigurationError("limit", self.limit, f"must be at most {MAX_PAGE}")
        object.__setattr__(
            self, "status", frozenset(self.status)
        )  # hashable, because queries are keys of a cache
        for status in self.status:
            check_choice("status", status, tuple(TaskStatus))
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
                raise ConfigurationError(name, value, "must be a datetime with a time zone")
        for name in ("func_name", "tag", "q"):
            if getattr(self, name) is not None:
                check_storable(name, check_text(name, getattr(self, name)))

    def following(self, after: Cursor | None, limit: int) -> TaskQuery:
        """The same query for the records after a place in the listing."""
        return replace(self, after=after, limit=limit)

    def matches(self, record: TaskRecord) -> bool:
        """Whether a record matches all filters; ``limit`` is ignored."""
        return (
            (not self.status or record.status in self.status)
            and (self.func_name is None or record.func_name == self.func_name)
            and (self.since is None or record.created_at >= self.since)
            and (self.until is None or record.created_at < self.until)
            and (self.after is None or Cursor.of(record) < self.after)
            and (self.tag is None or has_tag(record, self.tag))
            and (self.q is None or self.q.lower() in search_text(record))
        )


def labels(record: TaskRecord) -> tuple[str, ...]:
    """The tags of a record, each as ``key=value``."""
    if not record.tags:
        return ()
    return tuple(storable(f"{key}={value}") for key, value in record.tags.items())


def has_tag(record: TaskRecord, wanted: str) -> bool:
    """Whether a record has the tag ``key=value``, or any tag ``key``."""
    return any(each == wanted or each.startswith(f"{wanted}=") for each in labels(record))


def search_text(record: TaskRecord) -> str:
    """The text that `TaskQuery.q` is searched in, in lower case."""
    return search_names(record) + search_error(record)


def search_names(record: TaskRecord) -> str:
    """Its beginning, which stays as it is from the first state of a task to the last."""
    return storable("\n".join((record.func_name, record.task_id, *labels(record), "")).lower())


def search_error(record: TaskRecord) -> str:
    """Its end."""
    return storable(record.error[:ERROR_SEARCHED].lower()) if record.error else ""
