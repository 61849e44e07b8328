"""Known browsers: those in which somebody has logged in before.

What strangers do must not keep such a browser from logging in again: its attempts are counted by
themselves. The cookie lets nobody in, and it helps only with the account that it was made for. See
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from itsdangerous import BadSignature

from taskflow.admin.access.signing import serializer

__all__ = ["BROWSER_COOKIE", "LIFETIME", "KnownBrowsers"]

BROWSER_COOKIE = "taskflow_browser"

LIFETIME = 180 * 86_400
"""Seconds for which a browser is known after a login."""

PURPOSE = "taskflow.admin.browser"


class KnownBrowsers:
    """Issues and reads the cookie of a known browser.

    Args:
        key: signs the cookies.
        clock: seconds since 1970.
    """

    def __init__(self, key: str | bytes, clock: Callable[[], float] = time.time) -> None:
        self._serializer = serializer(key, PURPOSE)
        self._clock = clock

    def issue(self, username: str) -> str:
        """A token for a browser in which this user has just logged in."""
        return self._serializer.dumps([_account(username), secrets.token_hex(16)])

    def read(self, token: str | None, username: str) -> str | None:
        """The browser's id; ``None`` if the token is forged, too old, or another user's."""
        if not token or not token.isascii():
            return None
        try:
            (account, browser), issued = self._serializer.loads(token, return_timestamp=True)
        except BadSignature:
            return None
        current = account == _account(username) and self._clock() < issued.timestamp() + LIFETIME
        return str(browser) if current else None


def _account(username: str) -> str:
    return hashlib.sha256(username.encode("utf-8", "surrogatepass")).hexdigest()
