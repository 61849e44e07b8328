"""All that is known about one task."""

from __future__ import annotations

import reprlib
from typing import Any

from taskflow.admin.api.traces import Traces
from taskflow.admin.options import TRACE_ID
from taskflow.core.exceptions import TaskflowError
from taskflow.core.models import TaskRecord
from taskflow.execution.retry import retry_id
from taskflow.manager import TaskManager

__all__ = ["Details"]

REPR_LENGTH = 1_000


class ShortRepr(reprlib.Repr):
    """`repr` of arguments; of large ones only a part, so that answers stay small."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxlong = self.maxstring = self.maxother = REPR_LENGTH
        self.maxtuple = self.maxlist = self.maxarray = self.maxdict = self.maxset = self.maxfrozenset = 50
        self.maxdeque = 50

    def of(self, value: object) -> str:
        """The `repr` of a value; if it raises, which exception."""
        try:
            text = self.repr(value)
        except Exception as broken:
            return f"<{type(value).__name__}.__repr__ raised {type(broken).__name__}>"
        return text if len(text) <= REPR_LENGTH else f"{text[:REPR_LENGTH]}…"


class Details:
    """Tells all that is known about one task.

    Args:
        task_manager: the manager of the tasks.
        traces: the traces of the tasks.
        trace_url: address of a trace, with `TRACE_ID` for its id; ``None`` for no links.
        show_arguments: whether arguments are shown.
    """

    def __init__(
        self, task_manager: TaskManager, traces: Traces, trace_url: str | None, show_arguments: bool
    ) -> None:
        self._manager = task_manager
        self._traces = traces
        self._trace_url = trace_url
        self._show_arguments = show_arguments
        self._repr = ShortRepr()

    async def of(self, record: TaskRecord) -> dict[str, Any]:
        """The record, with arguments, trace and retry.

        Raises:
            BackendError: the backend does not answer.
        """
        again = await self._manager.history.get(retry_id(record.task_id))
        trace_id = self._traces.of(record)
        return {
            **record.to_dict(),
            **self._shown_arguments(record),
            "trace_id": trace_id,
            "trace_url": self._link(trace_id),
            "retried_by": None if again is None else again.task_id,
        }

    def _link(self, trace_id: str | None) -> str | None:
        if trace_id is None or self._trace_url is None:
            return None
        return self._trace_url.replace(TRACE_ID, trace_id)

    def _shown_arguments(self, record: TaskRecord) -> dict[str, Any]:
        if not self._show_arguments:
            return {"arguments": None, "arguments_error": None}
        try:
            args, kwargs = self._manager.arguments_of(record)
        except TaskflowError as error:
            return {"arguments": None, "arguments_error": str(error)}
        shown = {
            "args": [self._repr.of(value) for value in args],
            "kwargs": {name: self._repr.of(value) for name, value in kwargs.items()},
        }
        return {"arguments": shown, "arguments_error": None}
