"""Killing instances under load again and again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from tests.chaos.instance import Instance
from tests.chaos.load import Load
from tests.chaos.place import Place
from tests.chaos.report import Report, Summary, settle
from tests.chaos.verdict import Ledger

STARTING, STOPPING = 0.2, 0.1
"""How often an instance is killed while it starts, or while it stops; otherwise in between."""

SLEEPING = 0.15
"""How often it stands still before that, as a machine that is suspended does, perhaps beyond its lease."""

SHORT_LIFE = 0.25
"""Seconds within which an instance starts, as a rule."""

LONGEST_LIFE = 1.8
"""Seconds under load. A lease is over, and its tasks are rescued, in less than half of that."""


class Campaign:
    """Some instances at one place, and so many kills.

    Args:
        place: where the tasks are.
        seed: decides when what happens.
        instances: how many live at once; one of them is killed at a time.
        say: told how far it is.
    """

    def __init__(
        self, place: Place, seed: int, *, instances: int = 1, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._place = place
        self._chance = random.Random(seed)
        self._instances = [Instance(place) for _ in range(instances)]
        self._load = Load(self._instances, seed)
        self._ledger = Ledger(place)
        self._say = say
        self._kills = self._sleeps = 0

    def run(self, kills: int) -> tuple[Summary, list[str]]:
        """Kill so often, wait until every task has ended, and tell what became of them and what is wrong."""
        begun = time.monotonic()
        try:
            self._go_through(kills)
        finally:
            for instance in self._instances:
                instance.kill()
        report = Report.on(self._place, self._load.promises, self._ledger.faults(self._place.history()))
        summary = report.summary(
            kills=self._kills,
            sleeps=self._sleeps,
            refused=self._load.refused,
            seconds=round(time.monotonic() - begun),
        )
        return summary, [*report.wrong, *self._load.surprises]

    def _go_through(self, kills: int) -> None:
        self._kill_newborns()
        for instance in self._instances:
            self._start(instance)
            instance.await_ready()
        with self._load:
            while self._kills < kills:
                self._kill_one()
                self._say(f"{self._place.kind}: {self._kills} kills, {len(self._load.promises)} promises")
        settle(self._place)
        for instance in self._instances:
            instance.stop()

    def _start(self, instance: Instance) -> None:
        instance.start(self._chance.choice(("request", "detached")))

    def _kill_newborns(self) -> None:
        """Kill every instance while the tables are being made."""
        for instance in self._instances:
            self._start(instance)
            time.sleep(self._chance.uniform(0, SHORT_LIFE))
        for instance in self._instances:
            self._kill(instance)

    def _kill_one(self) -> None:
        instance = self._chance.choice(self._instances)
        mode = self._chance.random()
        if mode < STARTING:
            self._kill(instance)
            self._start(instance)
            time.sleep(self._chance.uniform(0, SHORT_LIFE))
        else:
            time.sleep(self._chance.uniform(0, LONGEST_LIFE))
        if self._chance.random() < SLEEPING:
            self._let_sleep(instance)
        if mode > 1 - STOPPING:
            instance.send(signal.SIGTERM)
            time.sleep(self._chance.uniform(0, 0.3))
        self._kill(instance)
        self._ledger.look()
        self._start(instance)
        instance.await_ready()

    def _let_sleep(self, instance: Instance) -> None:
        """What it then believes to have may be others' tasks."""
        instance.send(signal.SIGSTOP)
        time.sleep(self._chance.uniform(0, 2 * self._place.lease))
        instance.send(signal.SIGCONT)
        time.sleep(self._chance.uniform(0, SHORT_LIFE))
        self._sleeps += 1

    def _kill(self, instance: Instance) -> None:
        instance.kill()
        self._kills += 1
