"""How many tasks have not ended, and which have been in their state for longest; counted as events come."""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from taskflow.core.events import LifecycleEvent
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.names import BoundedNames

__all__ = ["Level", "Levels"]

# Globals, because a member of an enum is slow to look up.
PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING

Find = Callable[[str], TaskRecord | None]
"""Finds the record with an id."""

BATCH = 512
"""Events that are collected until they are looked at."""

LOOKED_AT = 16
"""Tasks among which the oldest of a state is: events of several threads may come a bit out of order."""


@dataclass(frozen=True, slots=True)
class Level:
    """The tasks of one name that are in one state.

    Attributes:
        func_name: the name; ``other`` past `NAME_LIMIT` names without a registered function.
        registered: whether a function is registered under it.
        status: the state, which is none of the ends.
        count: how many tasks.
        since: when the one that has been in it for longest entered it, in seconds of the monotonic clock;
            ``None`` without a task.
    """

    func_name: str
    registered: bool
    status: TaskStatus
    count: int
    since: float | None


class State:
    """The tasks of one name in one state.

    Attributes:
        status: the state.
        ids: of the tasks, by when they entered it. An `OrderedDict` knows its first key at once, even if
            it has lost a million before; a `dict` looks for it from its beginning.
    """

    __slots__ = ("_returned", "ids", "status")

    def __init__(self, status: TaskStatus) -> None:
        self.status = status
        self.ids: OrderedDict[str, None] = OrderedDict()
        # Tasks that have been in the state for longer than their place among the ids says: a heap of times
        # and ids. Some may have left.
        self._returned: list[tuple[float, str]] = []

    def enter_again(self, record: TaskRecord) -> None:
        """Add a task that has been in the state for as long as its record says."""
        self._forget_returned()
        heapq.heappush(self._returned, (record.state_clock, record.task_id))
        self.ids[record.task_id] = None

    def _forget_returned(self) -> None:
        while self._returned and self._returned[0][1] not in self.ids:
            heapq.heappop(self._returned)

    def since(self, find: Find) -> float | None:
        """When the oldest task entered the state; ``find`` knows the records."""
        self._forget_returned()
        oldest = [*islice(self.ids, LOOKED_AT), *(task_id for _, task_id in self._returned[:1])]
        records = [record for task_id in oldest if (record := find(task_id)) is not None]
        return min((r.state_clock for r in records if r.status is self.status), default=None)


class NamedLevels:
    """The tasks of one name that have not ended.

    Attributes:
        func_name: the name.
        registered: whether a function is registered under it.
    """

    __slots__ = ("_pending", "_retrying", "_running", "func_name", "registered")

    def __init__(self, func_name: str, registered: bool) -> None:
        self.func_name = func_name
        self.registered = registered
        self._pending, self._running, self._retrying = State(PENDING), State(RUNNING), State(RETRYING)

    def enter(self, record: TaskRecord, status: TaskStatus, *, again: bool) -> None:
        """The task is in this state now; ``again``: for as long as its record says, not just now."""
        self.leave(record.task_id)
        for state in (self._pending, self._running, self._retrying):
            if state.status is status:
                if again:
                    state.enter_again(record)
                else:
                    state.ids[record.task_id] = None

    def leave(self, task_id: str) -> None:
        """The task is in none of the states any more."""
        self._running.ids.pop(task_id, None)
        self._pending.ids.pop(task_id, None)
        self._retrying.ids.pop(task_id, None)

    def read(self, find: Find) -> Iterable[Level]:
        """How full each state is."""
        for state in (self._pending, self._running, self._retrying):
            since = state.since(find) if state.ids else None
            yield Level(self.func_name, self.registered, state.status, len(state.ids), since)


class Levels:
    """Reads the event stream, from any thread, and keeps which tasks are in which state.

    Events are only collected as they come, and taken together when they are `BATCH` or somebody reads: of
    most tasks the end is among them by then, and nothing is to be kept.

    Args:
        find: the store's: it must not take a lock.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._bounded = BoundedNames()
        self._names: dict[str, NamedLevels] = {}
        self._fresh: list[LifecycleEvent] = []
        self._lock = threading.Lock()

    def __call__(self, event: LifecycleEvent) -> None:
        """Take note of an event."""
        # Without the lock: the interpreter appends, copies a part and deletes a part as one step each, and
        # only who holds the lock deletes.
        fresh = self._fresh
        fresh.append(event)
        if len(fresh) >= BATCH and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self) -> None:
        """Take the tasks of the collected events to where the latest one says; under the lock."""
        events = self._fresh[:]
        del self._fresh[: len(events)]
        latest: dict[str, LifecycleEvent] = {}
        for event in events:
            if event.task_id in latest:
                del latest[event.task_id]  # those that entered a state last come last
            latest[event.task_id] = event
        for task_id, event in latest.items():
            named = self._names.get(event.func_name) or self._named(event.func_name, event.registered)
            status = event.status
            if status is PENDING or status is RUNNING or status is RETRYING:
                self._enter(named, event)
            else:
                named.leave(task_id)

    def _enter(self, named: NamedLevels, event: LifecycleEvent) -> None:
        record = self._find(event.task_id)
        if record is None or record.finished:  # forgotten meanwhile, or its last event is on its way
            named.leave(event.task_id)
        else:
            named.enter(record, event.status, again=event.status is PENDING and event.reason is not None)

    def _named(self, func_name: str, registered: bool) -> NamedLevels:
        bounded = self._bounded.value(func_name, exempt=registered)
        return self._names.setdefault(bounded, NamedLevels(bounded, registered))

    def add(self, record: TaskRecord) -> None:
        """Take in a record of which no event came, if it has not ended."""
        with self._lock:
            self._settle()
            self._named(record.func_name, record.registered).enter(record, record.status, again=True)

    def discard(self, record: TaskRecord) -> None:
        """Let go of a record that leaves without an event."""
        with self._lock:
            self._settle()
            self._named(record.func_name, record.registered).leave(record.task_id)

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._settle()
            self._names.clear()

    def read(self) -> list[Level]:
        """How full each state is, for every name that was seen."""
        with self._lock:
            self._settle()
            return [level for named in self._names.values() for level in named.read(self._find)]
