"""Two functions of one name: whoever shares a store runs the other one's tasks with its own function."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from taskflow.core.checks import storable
from taskflow.core.exceptions import BackendError
from taskflow.execution.registry import TaskRegistry
from taskflow.persistence.lease import Instance

__all__ = ["Namesakes"]

logger = logging.getLogger("taskflow")

INTERVAL: Final = 60.0
"""Seconds between two looks: who started first learns by then of who came later."""

REMEMBERED: Final = 3 * INTERVAL
"""Seconds for which the functions of an instance that is gone are remembered."""

SCRIPTS: Final = ("__main__.", "__mp_main__.")
"""What a function's place begins with if it is in the file that was started: that tells nobody which one."""


class Namesakes:
    """Tells the backend where this instance has its functions, and warns of others of the same name.

    Args:
        instance: whose functions they are.
        registry: where they are.
    """

    def __init__(self, instance: Instance, registry: TaskRegistry) -> None:
        self._instance = instance
        self._registry = registry
        self._warned: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with contextlib.suppress(BackendError):  # logged; the next look tries again
                await self.look()
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Warn of what was not warned of before.

        Raises:
            BackendError: the backend cannot be asked.
        """
        places = {storable(entry.name): storable(entry.code_function) for entry in self._registry}
        places = {name: place for name, place in places.items() if not place.startswith(SCRIPTS)}
        declared = self._instance.backend.declare(places, REMEMBERED)
        for name, place in await self._instance.vitals.measure("declare", declared):
            if (name, place) not in self._warned:
                self._warned.add((name, place))
                logger.warning(
                    "the name %r stands for %s here, and for %s in another instance in the namespace %r: "
                    "each runs the other's tasks with its own function. Give one of the two another name, "
                    "or each application a namespace of its own",
                    name,
                    places[name],
                    place,
                    self._instance.backend.namespace,
                )
