"""Log records about a trouble that repeats: at most one in a while."""

from __future__ import annotations

import logging
import time

__all__ = ["Complaints"]


class Complaints:
    """Logs one trouble, with at most one record per interval.

    Thread-safe. Of two threads that complain at the same moment, both may be logged.

    Args:
        logger: where the records go.
        interval: seconds between two records.
        level: severity of the records, one of the levels of `logging`.
    """

    def __init__(self, logger: logging.Logger, interval: float, level: int = logging.ERROR) -> None:
        self._logger = logger
        self._interval = interval
        self._level = level
        self._quiet_until: float | None = None

    def log(self, message: str, *args: object, exc_info: BaseException | None = None) -> bool:
        """Log a record, unless one was logged within the interval; returns whether it was logged.

        Args:
            message, args: as for `logging.Logger.log`.
            exc_info: exception whose traceback belongs to the record.
        """
        now = time.monotonic()
        if self._quiet_until is not None and now < self._quiet_until:
            return False
        self._quiet_until = now + self._interval
        self._logger.log(self._level, message, *args, exc_info=exc_info, stacklevel=2)
        return True

    def reset(self) -> None:
        """Log the next record in any case: the trouble is over, or it will not be logged again."""
        self._quiet_until = None
