"""Limits of login attempts: they slow down guessing, and do not shut out others."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

__all__ = ["Limit", "Throttle", "limits_of"]

WINDOW = 60.0
"""Seconds for which a failed login counts."""
PER_ACCOUNT = 5
"""Failed logins of one account from one address, or from one known browser, within the window."""
PER_ADDRESS = 20
"""Failed logins from one address within the window, whatever the account."""
OVERALL = 500
"""Failed logins from all addresses together within the window; known browsers do not count."""

NETWORK_BITS = 64
"""An IPv6 customer has a network of this size at least: its addresses count as one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many attempts with one key there may be within `WINDOW`."""

    key: Hashable
    most: int


def limits_of(username: str, address: str, browser: str | None) -> tuple[Limit, ...]:
    """The limits of a login attempt, the narrowest first.

    No limit counts an account alone: anybody could then lock its owner out. What strangers do never
    counts for a known browser.

    Args:
        username: who wants to log in.
        address: where the attempt comes from; empty if that is not known.
        browser: the id of a browser in which this account has logged in before, if it is one.
    """
    # A digest: of one size, however long the name is.
    account = hashlib.sha256(username.encode("utf-8", "surrogatepass")).digest()
    if browser is not None:
        return (Limit(("browser", account, browser), PER_ACCOUNT),)
    network = _network(address)
    return (
        Limit(("account", account, network), PER_ACCOUNT),
        Limit(("address", network), PER_ADDRESS),
        Limit("overall", OVERALL),
    )


def _network(address: str) -> str:
    """The address; of an IPv6 address its network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), NETWORK_BITS), strict=False))


class Throttle:
    """Counts login attempts until one succeeds.

    An attempt counts from its beginning, so that many at once are not each the first.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempts: deque[tuple[float, frozenset[Hashable]]] = deque()

    def __len__(self) -> int:
        return len(self._attempts)

    def wait(self, limits: Sequence[Limit]) -> float:
        """Seconds until there may be another attempt; 0 if now, and then it counts for each limit."""
        now = self._clock()
        while self._attempts and self._attempts[0][0] <= now - WINDOW:
            self._attempts.popleft()
        for limit in limits:
            since = [since for since, keys in self._attempts if limit.key in keys]
            if len(since) >= limit.most:
                return since[0] + WINDOW - now
        self._attempts.append((now, frozenset(limit.key for limit in limits)))
        return 0.0

    def succeeded(self, limits: Sequence[Limit]) -> None:
        """Forget the attempts on this account from this place: those with the key of the first limit."""
        key = limits[0].key
        self._attempts = deque(attempt for attempt in self._attempts if key not in attempt[1])
