"""Waiting for the end, and telling what became of everything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from taskflow import TaskStatus
from tests.chaos.load import Promise
from tests.chaos.place import Place
from tests.chaos.verdict import Story, faults, stories

PATIENCE = 60.0
"""Seconds within which another task must end, once no more are ordered and nothing is killed."""


@dataclass
class Summary:
    """What became of the tasks.

    Attributes:
        kills: instances that were killed.
        sleeps: instances that stood still for a while.
        outages: times that the store was away.
        promised: tasks that were acknowledged.
        once, again: those of all tasks whose attempts began once, or one of them more often.
        interrupted: began, and may not run again.
        unseen: of those, killed between the commit that they begin and their first line.
        rescued: were left in their middle at least once.
        poison: were so three times.
        failed: of their own doing.
        duplicates: another task had their key.
        refused: requests that were answered with 503.
        seconds: that it took.
    """

    kills: int = 0
    sleeps: int = 0
    outages: int = 0
    promised: int = 0
    once: int = 0
    again: int = 0
    interrupted: int = 0
    unseen: int = 0
    rescued: int = 0
    poison: int = 0
    failed: int = 0
    duplicates: int = 0
    refused: int = 0
    seconds: int = 0

    @classmethod
    def heading(cls) -> str:
        """The names of the columns."""
        return " ".join(f"{field.name:>11}" for field in fields(cls))

    def __str__(self) -> str:
        return " ".join(f"{getattr(self, field.name):>11}" for field in fields(self))

    def count(self, story: Story) -> None:
        """Add one task."""
        record = story.record
        self.promised += bool(story.promises)
        begun = Counter(deed.attempt for deed in story.deeds if deed.what == "begin").values()
        self.once += max(begun, default=0) == 1
        self.again += max(begun, default=0) > 1
        if record is None:
            return
        interrupted = record.status is TaskStatus.INTERRUPTED
        self.interrupted += interrupted
        self.unseen += interrupted and not story.deeds
        self.rescued += record.rescues > 0
        self.poison += record.reason == "poison"
        self.failed += record.status is TaskStatus.FAILED and record.reason != "poison"
        self.duplicates += record.duplicate_of is not None


@dataclass(frozen=True)
class Report:
    """What became of all tasks.

    Attributes:
        told: everything that is known of them, by their ids.
        wrong: what is not as it must be, with everything that anybody has said of the task.
    """

    place: Place
    told: Mapping[str, Story]
    wrong: list[str]

    @classmethod
    def on(cls, place: Place, promises: Iterable[Promise], more: Iterable[tuple[str, str]] = ()) -> Report:
        """Judge what happened at a place.

        Args:
            place: where.
            promises: what was acknowledged.
            more: ids of tasks of which something else is wrong, and what.
        """
        told = stories(place, promises)
        found = (*faults(told), *more)
        wrong = [f"{fault}\n{_everything_about(told[task_id], place.folder)}" for task_id, fault in found]
        return cls(place, told, [*wrong, *_complaints(place.folder)])

    def summary(self, **figures: int) -> Summary:
        """The sum of it, with figures that the tasks do not tell."""
        summary = Summary(**figures)
        for story in self.told.values():
            summary.count(story)
        return summary


def settle(place: Place) -> None:
    """Return when nothing is left to do, or when nothing is done any more.

    How much there is to do is up to the machine: the quicker it is, the more was ordered.
    """
    ended, deadline = -1, 0.0
    while place.unfinished():
        if (now := place.ended()) != ended:
            ended, deadline = now, time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _complaints(folder: Path) -> list[str]:
    """What no instance should have logged."""
    lines = [line for log in folder.glob("server-*.log") for line in _lines(log)]
    return [line for line in lines if " CRITICAL " in line]


def _everything_about(story: Story, folder: Path) -> str:
    lines = [str(story.record), *map(str, story.promises), *map(str, story.deeds)]
    for file in sorted(folder.glob("*.log")):
        lines += [f"{file.name}: {line}" for line in _lines(file) if story.task_id in line]
    return "\n".join(f"    {line}" for line in lines)


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()
