"""Sessions: who is logged in, in a signed cookie, with nothing kept on the server but what has ended."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

from taskflow.core.checks import check_int
from taskflow.core.exceptions import ConfigurationError

__all__ = ["Session", "Sessions"]

logger = logging.getLogger("taskflow")

SKEW = 60
"""Seconds that the clock of another server, which signed the session, may be ahead of ours."""

SALT = "taskflow.admin.session"


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

    Processes with the same ``secret_key`` and the same accounts accept each other's sessions. A logout
    is known to the process that served it: others accept a copy of the cookie until it expires. The
    browser that logged out has none.

    Args:
        secret_key: signs the sessions; ``None`` makes a random one, with a warning.
        expiry: seconds that a session lasts.
        accounts: text that changes with the accounts, and ends all sessions when it does.
        clock: seconds since 1970.

    Raises:
        ConfigurationError: the key is empty, or the expiry is not a whole number of at least 1.
    """

    def __init__(
        self,
        secret_key: str | bytes | None,
        expiry: int,
        accounts: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.expiry = check_int("token_expiry", expiry, minimum=1)
        self._clock = clock
        self._ended: dict[str, float] = {}
        self._serializer = URLSafeTimedSerializer(
            _secret(secret_key),
            salt=f"{SALT}.{accounts}",
            serializer=json,  # its own would refuse a name that is not UTF-8
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    @property
    def ended(self) -> int:
        """How many sessions are remembered because they were ended before their time."""
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
        # Not itsdangerous's own max_age: it refuses what a clock a second ahead of ours has signed.
        if issued.timestamp() > self._clock() + SKEW:
            return None
        session = Session(username, session_id, issued.timestamp() + self.expiry)
        return session if self.lasts(session) else None

    def lasts(self, session: Session) -> bool:
        """Whether the session has neither expired nor been logged out."""
        return self._clock() < session.ends and session.session_id not in self._ended

    def end(self, session: Session) -> None:
        """Accept the session no more."""
        now = self._clock()
        self._ended = {session_id: ends for session_id, ends in self._ended.items() if ends > now}
        self._ended[session.session_id] = session.ends


def _secret(secret_key: str | bytes | None) -> str | bytes:
    if secret_key is None:
        logger.warning(
            "TaskAdmin has auth but no secret_key: sessions end with this process, and other worker "
            "processes do not accept them"
        )
        return secrets.token_bytes(32)
    if not isinstance(secret_key, str | bytes) or not secret_key:
        raise ConfigurationError("secret_key", "<redacted>", "must be text or bytes that is not empty")
    return secret_key
