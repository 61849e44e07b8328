"""Accounts and backends: who may log in."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from taskflow.core.exceptions import ConfigurationError
from taskflow.execution.running.attempt import Outcome
from taskflow.execution.running.pools import Pool
from taskflow.execution.running.threads import Threads

__all__ = ["Accounts", "Auth", "Authenticator", "TaskAuthBackend", "make_backend"]


class TaskAuthBackend(ABC):
    """Decides who may log in, e.g. by asking a directory."""

    @abstractmethod
    def authenticate_user(self, username: str, password: str) -> bool | Awaitable[bool]:
        """Whether this is the user's password. A plain ``def`` runs in a thread and may block.

        Only ``True`` itself accepts the login. An exception refuses it, and is logged.
        """


Account: TypeAlias = tuple[str, str]
Auth: TypeAlias = Account | Sequence[Account] | TaskAuthBackend

ALLOWED = "must be (user, password), a list of those that is not empty, a TaskAuthBackend, or None"


class Accounts(TaskAuthBackend):
    """A fixed list of users.

    Args:
        accounts: pairs of user and password.
    """

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._digests = [(_digest(user), _digest(password)) for user, password in accounts]

    async def authenticate_user(self, username: str, password: str) -> bool:
        """Compare with every account; how long that takes tells nothing about them."""
        user, secret = _digest(username), _digest(password)
        matches = [
            hmac.compare_digest(user, known) & hmac.compare_digest(secret, its_secret)
            for known, its_secret in self._digests
        ]
        return any(matches)

    def fingerprint(self) -> str:
        """A text that is another one as soon as a user or a password changes."""
        return _digest(repr(sorted(self._digests))).hex()


def _digest(text: str) -> bytes:
    # All digests are of one length. Forms may hold text that UTF-8 cannot encode.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def make_backend(auth: Auth) -> TaskAuthBackend:
    """The backend that ``TaskAdmin(auth=…)`` asks for.

    Raises:
        ConfigurationError: it is none of what is allowed; passwords are never part of the error.
    """
    if isinstance(auth, TaskAuthBackend):
        return auth
    accounts: Sequence[Any] = [auth] if _is_account(auth) else auth
    if not isinstance(accounts, list | tuple) or not accounts or not all(map(_is_account, accounts)):
        raise ConfigurationError("auth", "<redacted>", ALLOWED)
    return Accounts(accounts)


def _is_account(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(part, str) and part for part in value)
    )


class Authenticator:
    """Asks a backend without blocking the event loop.

    Args:
        backend: the backend.
    """

    def __init__(self, backend: TaskAuthBackend) -> None:
        self._backend = backend
        # Threads of its own: when the shared ones are busy, an operator must still be able to log in.
        self._threads, self._places = Threads(), Pool("login", 4)

    async def admits(self, username: str, password: str) -> bool:
        """Whether the backend accepts the login. Raises what the backend raises."""
        check = self._backend.authenticate_user
        if inspect.iscoroutinefunction(check):
            return await check(username, password) is True
        answer = await self._in_thread(functools.partial(check, username, password))
        return (await answer if inspect.isawaitable(answer) else answer) is True

    async def _in_thread(self, check: Callable[[], Any]) -> Any:
        if not self._places.enter_nowait():
            await self._places.enter()
        job = self._threads.start(functools.partial(_outcome, check))
        try:
            outcome = await job.outcome
        except asyncio.CancelledError:
            if not job.leave(self._places.leave):
                self._places.leave()
            raise
        self._places.leave()
        if outcome.error is not None:
            raise outcome.error
        return outcome.value


def _outcome(check: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(check())
    except BaseException as error:
        return Outcome(error=error)
