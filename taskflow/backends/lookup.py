"""Addresses of host names, looked up in threads of our own.

`loop.getaddrinfo`, which the drivers use, waits for a thread of the loop's default pool: there it stands in
line behind whatever the application has given to that pool, while the application may be waiting for us.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["addresses", "is_name"]

T = TypeVar("T")


def is_name(host: str) -> bool:
    """Whether it has to be looked up: it is neither an address nor the path of a socket."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return bool(host) and host[0] not in "/@"
    return False


async def addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order in which to try them.

    Raises:
        OSError: it has none, or nobody can be asked now.
    """
    found = await _in_a_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _in_a_thread(work: Callable[[], T]) -> T:
    """What ``work`` returns. The thread is not waited for: a look-up cannot be broken off."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is None:
            outcome.set_result(result)  # type: ignore[arg-type]  # it is a T if there is no error
        else:
            outcome.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # a thread has nobody to raise to
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="taskflow-lookup", daemon=True).start()
    return await outcome
