"""Instead of a payment provider: no network, and the number of the order decides whether it fails."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from zlib import crc32

LATENCY = 0.05  # seconds


class ProviderUnavailableError(Exception):
    """The provider did not answer; asking again may help."""


async def charge(order: int, amount: Decimal, *, attempt: int) -> str:
    """Charge ``amount`` euros for ``order`` and return the provider's receipt.

    Of ten orders about one never succeeds, and three succeed only at the second attempt.

    Raises:
        ProviderUnavailableError: no answer.
    """
    await asyncio.sleep(LATENCY)
    fate = crc32(f"order/{order}".encode()) % 10
    if fate == 0 or (fate <= 3 and attempt == 0):
        raise ProviderUnavailableError(f"no answer for order {order} ({amount} EUR)")
    return f"receipt-{order:06d}"
