"""Stores the arguments of tasks that may run again on their records, encrypted or not, and reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from taskflow.arguments.encryption import decrypt, encrypt
from taskflow.core.exceptions import ArgumentsNotKeptError, DecryptionError
from taskflow.core.models import TaskRecord

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

    from taskflow.arguments.codec import ArgumentCodec

__all__ = ["ArgumentKeeper", "TaskFunction"]


class TaskFunction(Protocol):
    """What the keeper needs to know of a task function.

    Attributes:
        registered: whether another process can find it by its name.
        codec: stores and revives its arguments.
    """

    @property
    def registered(self) -> bool: ...
    @property
    def codec(self) -> ArgumentCodec: ...


class ArgumentKeeper:
    """Encodes arguments into records, and decodes them.

    Args:
        fernet: encrypts the arguments; then the record never has them in plain text.
        requeue: whether tasks of all registered functions may run again after a restart, not only
            those with ``persist=True``.

    Attributes:
        concerns_all: whether it has something to do for every task, not only for durable ones.
    """

    def __init__(self, fernet: Fernet | MultiFernet | None = None, *, requeue: bool = False) -> None:
        self._fernet = fernet
        self._requeue = requeue
        self.concerns_all = fernet is not None or requeue

    def keep(
        self, record: TaskRecord, entry: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Encode the arguments of a task if another process may run it, or if they are to be encrypted.

        Returns:
            Whether it can run again in another process, which finds its function by name.

        Raises:
            TaskArgumentError: they cannot be stored and decoded unchanged.
        """
        revivable = entry.registered and (self._requeue or record.durable)
        if self._fernet is not None:
            record.encrypted_payload = encrypt(self._fernet, entry.codec.encode(args, kwargs))
            record.args, record.kwargs = (), {}
        elif revivable:
            record.payload = entry.codec.encode(args, kwargs)
            record.args, record.kwargs = (), {}  # once is enough
        return revivable

    def recall(self, record: TaskRecord, entry: TaskFunction) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a task was enqueued with.

        Raises:
            ArgumentsNotKeptError: they were not stored.
            DecryptionError: none of the keys can decrypt them.
            TaskArgumentError: the signature of the function has changed, or the stored arguments are damaged.
        """
        if record.encrypted_payload is not None:
            if self._fernet is None:
                raise DecryptionError("the stored arguments are encrypted, and there is no encrypt_args_key")
            return entry.codec.decode(decrypt(self._fernet, record.encrypted_payload))
        if record.payload is not None:
            return entry.codec.decode(record.payload)
        if not record.arguments_kept:
            raise ArgumentsNotKeptError(record.task_id)
        return record.args, record.kwargs

    def afresh(
        self, record: TaskRecord, entry: TaskFunction
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments for another attempt of a task, as they were before the first one changed them.

        Returns:
            ``None`` where they are not encoded: then there is only what the first attempt got.

        Raises:
            DecryptionError, TaskArgumentError: as `recall`.
        """
        if record.payload is None and record.encrypted_payload is None:
            return None
        return self.recall(record, entry)
