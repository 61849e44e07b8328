"""Asking for records: what to filter by, and how to page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from taskflow.core.checks import check_choice, check_int, check_storable, check_text
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskRecord, TaskStatus

__all__ = ["MAX_PAGE", "Cursor", "TaskQuery", "labels", "microseconds", "moment", "search_text"]

MAX_PAGE = 1_000
"""The most records of one page."""

ERROR_SEARCHED = 1_000
"""Characters of an error that can be searched."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment: exact, unlike `datetime.timestamp`."""
    return (moment - EPOCH) // MICROSECOND


def moment(microseconds: int) -> datetime:
    """The aware moment, UTC, that `microseconds` stands for."""
    return EPOCH + microseconds * MICROSECOND


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """The place of a record in the listing, which is newest first and by id among equals.

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
            ConfigurationError: that was not a cursor.
        """
        created, found, task_id = text.partition("-")
        if not (found and task_id and created.isascii() and created.isdigit() and len(created) < 18):
            raise ConfigurationError("cursor", text, "must be one that a former page gave")
        return cls(int(created), check_storable("cursor", task_id))

    def __str__(self) -> str:
        return f"{self.created}-{self.task_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which records, newest first. Every filter that is given must hold.

    Attributes:
        status: any of these states; all if empty.
        func_name: exactly this registered name.
        tag: ``"key=value"``, or ``"key"`` for any value.
        since: enqueued at this aware moment or later.
        until: enqueued before this aware moment.
        q: text to find, whatever its case, in the name, id, tags or error.
        limit: most records to give, 1 to 1,000.
        after: only what comes after this place in the listing.

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
        object.__setattr__(self, "status", frozenset(self.status))  # a key of caches
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
        """The same question, from a place in the listing on."""
        return replace(self, after=after, limit=limit)

    def matches(self, record: TaskRecord) -> bool:
        """Whether a record is one of those asked for; ``limit`` aside."""
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
    """The tags of a record as they are asked for: each ``key=value``."""
    if not record.tags:
        return ()
    return tuple(storable(f"{key}={value}") for key, value in record.tags.items())


def has_tag(record: TaskRecord, wanted: str) -> bool:
    """Whether a record has the tag ``key=value``, or any tag ``key``."""
    return any(each == wanted or each.startswith(f"{wanted}=") for each in labels(record))


def search_text(record: TaskRecord) -> str:
    """What `TaskQuery.q` searches, in lower case."""
    error = (record.error or "")[:ERROR_SEARCHED]
    return storable("\n".join((record.func_name, record.task_id, *labels(record), error)).lower())


def storable(text: str) -> str:
    """Text that every database takes: without lone surrogates and NUL. The record has it exactly."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
