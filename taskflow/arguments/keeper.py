"""Keeping the arguments of tasks that may run again, encrypted or not, and giving them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from taskflow.arguments.codec import ArgumentCodec
from taskflow.arguments.encryption import decrypt, encrypt
from taskflow.core.exceptions import ArgumentsNotKeptError, DecryptionError
from taskflow.core.models import TaskRecord

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

__all__ = ["ArgumentKeeper", "TaskFunction"]


class TaskFunction(Protocol):
    """What is asked of a task function here.

    Attributes:
        registered: whether another process can find it by its name.
        codec: stores and revives its arguments.
    """

    @property
    def registered(self) -> bool: ...
    @property
    def codec(self) -> ArgumentCodec: ...


class ArgumentKeeper:
    """Encodes arguments onto records, and decodes them.

    Args:
        fernet: encrypts what is encoded; the record then never holds the plain values.
        requeue: whether any registered function may run after the next start, not only those with
            ``persist=True``.
    """

    def __init__(self, fernet: Fernet | MultiFernet | None = None, *, requeue: bool = False) -> None:
        self._fernet = fernet
        self._requeue = requeue

    def keep(
        self, record: TaskRecord, entry: TaskFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Encode the arguments of a task that may ever be revived; those of others stay as they are.

        Returns:
            Whether it can run again in another process, which finds its function by name.

        Raises:
            TaskArgumentError: they would not come back the same.
        """
        revivable = entry.registered and (self._requeue or record.durable)
        if self._fernet is not None:
            record.encrypted_payload = encrypt(self._fernet, entry.codec.encode(args, kwargs))
            record.args, record.kwargs = (), {}
        elif revivable:
            record.payload = entry.codec.encode(args, kwargs)
        return revivable

    def recall(self, record: TaskRecord, entry: TaskFunction) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that a task was enqueued with.

        Raises:
            ArgumentsNotKeptError: nobody has them any more.
            DecryptionError: they are encrypted, and none of the keys fits.
            TaskArgumentError: the function takes other arguments by now, or they are damaged.
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
