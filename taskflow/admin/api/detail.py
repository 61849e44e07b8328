"""All that is known about one task."""

from __future__ import annotations

from typing import Any

from taskflow.admin.api.traces import Traces
from taskflow.admin.options import TRACE_ID
from taskflow.core.exceptions import TaskflowError
from taskflow.core.models import TaskRecord
from taskflow.execution.retry import retry_id
from taskflow.manager import TaskManager

__all__ = ["Details"]


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
        if show_arguments:
            task_manager.keep_previews()

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
            texts = self._manager.argument_texts(record)
        except TaskflowError as error:
            return {"arguments": None, "arguments_error": str(error)}
        return {"arguments": {"args": texts.args, "kwargs": texts.kwargs}, "arguments_error": None}
