"""Which task holds which idempotency key. A key belongs to its function."""

from __future__ import annotations

from taskflow.core.models import TaskRecord

__all__ = ["Keys"]


class Keys:
    """The ids of the tasks that hold keys. Not thread-safe: used under the store's lock."""

    def __init__(self) -> None:
        # By key, then by function.
        self._holders: dict[str, dict[str, str]] = {}

    def holder(self, key: str | None, func_name: str | None = None) -> str | None:
        """The id of the task that holds a key, or ``None``.

        Args:
            key: holds nothing if ``None``.
            func_name: registered name of the function. ``None``: of any; of several, the one whose
                function had a task with this key first.
        """
        if key is None:
            return None
        holders = self._holders.get(key, {})
        return next(iter(holders.values()), None) if func_name is None else holders.get(func_name)

    def hold(self, record: TaskRecord) -> None:
        """Give a record its key, if it has one and nobody holds that."""
        if record.idempotency_key is not None:
            self._holders.setdefault(record.idempotency_key, {}).setdefault(record.func_name, record.task_id)

    def release(self, record: TaskRecord) -> None:
        """Take the key from a record, if it holds it."""
        key = record.idempotency_key
        if key is None or self._holders.get(key, {}).get(record.func_name) != record.task_id:
            return
        del self._holders[key][record.func_name]
        if not self._holders[key]:
            del self._holders[key]

    def clear(self) -> None:
        """Let go of all."""
        self._holders.clear()
