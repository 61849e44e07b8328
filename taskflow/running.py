"""What asyncio tells of the code that runs now."""

from __future__ import annotations

import asyncio

__all__ = ["cancellations", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def cancellations() -> int:
    """How often the asyncio task that runs now was asked to cancel; 0 outside of tasks."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
