"""Sessions: who is logged in, in a signed cookie. The server keeps only the sessions that were ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from itsdangerous import BadSignature

from taskflow.admin.access.signing import serializer
from taskflow.core.checks import check_int

__all__ = ["Session", "Sessions"]

SKEW = 60
"""Seconds that the clock of the server that signed a session may be ahead of this one."""

PURPOSE = "taskflow.admin.session"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in.

    Attributes:
        username: who.
        session_id: random, of this login alone.
        ends: when, in seconds since 1970.
    """

    username: str
    session_id: str
    ends: float


class Sessions:
    """Issues, reads and ends sessions.

    Processes with the same key and the same accounts accept each other's sessions. Only the process that
    served a logout knows of it: others accept a copy of the cookie until it expires. The browser that
    logged out has none.

    Args:
        key: signs the sessions.
        expiry: seconds that a session lasts.
        accounts: text that changes with the accounts, and ends all sessions when it does.
        clock: seconds since 1970.

    Raises:
        ConfigurationError: the expiry is not a whole number of at least 1.
    """

    def __init__(
        self,
        key: str | bytes,
        expiry: int,
        accounts: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.expiry = check_int("token_expiry", expiry, minimum=1)
        self._clock = clock
        self._ended: dict[str, float] = {}
        self._serializer = serializer(key, f"{PURPOSE}.{accounts}")

    @property
    def ended(self) -> int:
        """How many sessions are remembered as ended by a logout."""
        return len(self._ended)

    def issue(self, username: str) -> str:
        """A token that proves a login."""
        return self._serializer.dumps([username, secrets.token_hex(16)])

    def read(self, token: str | None) -> Session | None:
        """The session of a token; ``None`` if it is forged, damaged, expired or logged out."""
        if not token or not token.isascii():
            return None
        try:
            (username, session_id), issued = self._serializer.loads(token, return_timestamp=True)
        except BadSignature:
            return None
        # Not itsdangerous's own max_age: it refuses a token of a server whose clock is a second ahead.
        if issued.timestamp() > self._clock() + SKEW:
            return None
        session = Session(username, session_id, issued.timestamp() + self.expiry)
        return session if self.lasts(session) else None

    def lasts(self, session: Session) -> bool:
        """Whether the session has neither expired nor been logged out."""
        return self._clock() < session.ends and session.session_id not in self._ended

    def end(self, session: Session) -> None:
        """End a session before its time."""
        now = self._clock()
        self._ended = {session_id: ends for session_id, ends in self._ended.items() if ends > now}
        self._ended[session.session_id] = session.ends
