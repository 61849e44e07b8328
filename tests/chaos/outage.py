"""Taking the store away from three instances under load, again and again.

What this is about is not only that nothing is lost: nobody whose process lives may lose a task by it.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Final, Protocol

from taskflow import TaskStatus
from tests.chaos.instance import Instance
from tests.chaos.load import Load, Promise, ask, promised
from tests.chaos.place import Place
from tests.chaos.proxy import Proxy
from tests.chaos.report import Report, Summary, settle
from tests.chaos.verdict import Ledger, Story

INSTANCES: Final = 3

WAYS: Final = ("stopped", "frozen", "reset")
"""The server is killed and started again; it stands still, with all connections open; those are reset."""

GATED: Final = ("gated", "gated-again")
"""Tasks that run right through an outage: of those that may run again, and of the others."""


class Server(Protocol):
    """The store, as far as it can be taken away."""

    port: int

    def start(self) -> None:
        """Return when it answers."""

    def stop(self) -> None:
        """End it as a crash would."""

    def freeze(self) -> None:
        """Let it stand still."""

    def thaw(self) -> None:
        """Let it go on."""


class Outages:
    """Three instances at one place, and a server that goes away and comes back.

    Args:
        place: where the tasks are; as it is reached without the proxy.
        server: the store.
        seed: decides when what happens.
        shortest, longest: seconds of an outage.
        say: told how far it is.
    """

    def __init__(
        self,
        place: Place,
        server: Server,
        seed: int,
        *,
        shortest: float,
        longest: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._place = place
        self._server = server
        self._chance = random.Random(seed)
        self._seed = seed
        self._bounds = shortest, longest
        self._say = say
        self._ledger = Ledger(place)
        self._killed: set[int] = set()
        self._promises: list[Promise] = []
        self._gates = 0

    def run(self, outages: int) -> tuple[Summary, list[str]]:
        """So many outages; then wait until every task has ended, and tell what is wrong."""
        begun = time.monotonic()
        with ExitStack() as stack:
            proxies = [stack.enter_context(Proxy(self._server.port)) for _ in range(INSTANCES)]
            instances = [Instance(self._behind(proxy)) for proxy in proxies]
            load = Load(instances, self._seed)
            try:
                self._go_through(outages, instances, proxies, load)
            finally:
                for instance in instances:
                    instance.kill()
        history = self._place.history()
        report = Report.on(self._place, [*load.promises, *self._promises], self._ledger.faults(history))
        harmed = [f"{task_id}: {what}" for task_id, what in harm(report.told.values(), self._killed)]
        summary = report.summary(
            kills=len(self._killed),
            outages=outages,
            refused=load.refused,
            seconds=round(time.monotonic() - begun),
        )
        return summary, [*report.wrong, *load.surprises, *harmed]

    def _behind(self, proxy: Proxy) -> Place:
        address = self._place.address.replace(f":{self._server.port}/", f":{proxy.port}/")
        return replace(self._place, address=address)

    def _go_through(self, outages: int, instances: list[Instance], proxies: list[Proxy], load: Load) -> None:
        for instance in instances:
            instance.start("detached")
            instance.await_ready()
        with load:
            for number in range(outages):
                self._begin_what_lasts(instances)
                seconds = self._chance.uniform(*self._bounds)
                victim = self._chance.choice(instances) if number % 2 else None
                if victim is not None:
                    self._kill(victim)
                self._take_away(WAYS[number % len(WAYS)], seconds, proxies)
                if victim is not None:
                    victim.start("detached")
                    victim.await_ready()
                # Whoever would take something over does it by then.
                time.sleep(3 * self._place.lease)
                self._place.gate(self._gates).touch()
                self._ledger.look()
                self._say(f"{self._place.kind}: {number + 1} outages, {len(load.promises)} promises")
        settle(self._place)
        for instance in instances:
            instance.stop()

    def _begin_what_lasts(self, instances: list[Instance]) -> None:
        """Order tasks on each instance that run until the outage is long over."""
        self._gates += 1
        orders = [{"task": task, "number": self._gates, "key": None} for task in GATED]
        for instance in instances:
            for order in orders:  # each in a request of its own: of one request they run one after the other
                status, answer = ask(instance, [order])
                if status == 200:
                    self._promises += promised(answer, [order])
        time.sleep(self._place.lease / 2)

    def _kill(self, victim: Instance) -> None:
        self._killed.add(victim.pid)
        victim.kill()

    def _take_away(self, way: str, seconds: float, proxies: list[Proxy]) -> None:
        """Let the store be away for so long; some instances reach it again later than the others."""
        if way == "stopped":
            self._server.stop()
        elif way == "frozen":
            self._server.freeze()
        else:
            for proxy in proxies:
                proxy.cut()
        time.sleep(seconds)
        late = self._chance.sample(proxies, INSTANCES - 1)
        for proxy in late:
            proxy.cut()
        if way == "stopped":
            self._server.start()
        elif way == "frozen":
            self._server.thaw()
        for proxy in proxies:
            if proxy not in late:
                proxy.mend()
        time.sleep(self._place.lease / 2)
        for proxy in late:
            proxy.mend()


def harm(told: Iterable[Story], killed: set[int]) -> Iterator[tuple[str, str]]:
    """Ids of tasks that a process lost although it lives, and what became of them.

    Args:
        told: what is known of the tasks.
        killed: the processes that were killed.
    """
    for story in told:
        begun = [deed for deed in story.deeds if deed.what == "begin"]
        living = Counter(deed.attempt for deed in begun if deed.pid not in killed)
        if any(times > 1 for times in living.values()):
            yield story.task_id, "an attempt began twice in processes that live"
        record = story.record
        if record is None or not begun:
            continue
        if record.status is TaskStatus.INTERRUPTED and begun[-1].pid not in killed:
            yield story.task_id, f"it was interrupted ({record.reason}) in a process that lives"
        if record.reason == "poison" and any(deed.pid not in killed for deed in begun):
            yield story.task_id, "it is poison, and one of its processes lives"
