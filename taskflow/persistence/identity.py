"""The names of leases. A name tells which life of which process it belongs to, and on which machine.

::

    9f2c41d07b3e.1.5d0c7a1b.4711.8812345
    │            │ │        │    └ when the process started, as its system counts
    │            │ │        └ its id
    │            │ └ the machine, as its system tells it; nothing if it does not
    │            └ how many leases this life has had
    └ a life: from one start of a manager to its shutdown

So who finds a lease that is not renewed can tell two things that the lease itself does not: whether its
process is known to have died, and whether it has come back with another lease.
"""

from __future__ import annotations

import os
import uuid
from functools import cache
from hashlib import blake2b
from pathlib import Path

__all__ = ["Names", "has_died", "life_of"]


class Names:
    """Names for the leases of one life of this process. Nobody has ever had one of them."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex[:12]
        self._count = 0
        self._place = f"{_machine()}.{os.getpid()}.{_started(os.getpid()) or 0}"

    def new(self) -> str:
        """Another name."""
        self._count += 1
        return f"{self._life}.{self._count}.{self._place}"


def life_of(token: str) -> str:
    """The life that a lease belongs to: the same for all leases of one start of a manager."""
    return token.partition(".")[0]


def has_died(token: str) -> bool:
    """Whether the process of a lease is known to have ended.

    Only known of processes of this machine, and of this container where there are some: of all others,
    and where the system does not tell, the answer is no.
    """
    try:
        _, _, machine, pid, started = token.split(".")
        if not machine or machine != _machine():
            return False
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, OSError):
        return False
    now = _started(int(pid))
    return now is not None and now != int(started)


def _started(pid: int) -> int | None:
    """When a process of this machine began, as the kernel counts; 0 if it has ended, ``None`` if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The name of the program stands in brackets, and may hold anything.
        state, *fields = text.rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, ValueError, IndexError):
        return None


@cache
def _machine() -> str:
    """The running system and the namespace of its process ids; nothing where that is not told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return blake2b(f"{boot} {namespace}".encode(), digest_size=4).hexdigest()
