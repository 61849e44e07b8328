"""Log records about trouble: they never make more of it, and of one that repeats there is one in a while."""

from __future__ import annotations

import logging
import time

__all__ = ["Complaints", "complain"]


def complain(
    logger: logging.Logger,
    level: int,
    message: str,
    *args: object,
    exc_info: BaseException | None = None,
    stacklevel: int = 1,
) -> None:
    """Log a record, without its traceback if that cannot be written. Raises nothing but KeyboardInterrupt.

    An exception may raise when it is formatted, and a filter or a handler when it is called. Whoever logs
    that something else has failed must not fail because of that.

    Args:
        logger: where the record goes.
        level: its severity, one of the levels of `logging`.
        message, args: as for `logging.Logger.log`.
        exc_info: exception whose traceback belongs to the record.
        stacklevel: as for `logging.Logger.log`.
    """
    try:
        logger.log(level, message, *args, exc_info=exc_info, stacklevel=stacklevel + 1)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _complain_briefly(logger, level, message, args, exc_info or error)


def _complain_briefly(
    logger: logging.Logger, level: int, message: str, args: tuple[object, ...], error: BaseException
) -> None:
    try:
        shown = message + ": %s (no more, because logging it failed)"
        logger.log(level, shown, *args, type(error).__name__)
    except KeyboardInterrupt:
        raise
    except BaseException:  # logging itself is broken: what is left is sys.stderr
        if logging.lastResort is not None:
            logging.lastResort.handle(logging.LogRecord(logger.name, level, "", 0, message, args, None))


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
        complain(self._logger, self._level, message, *args, exc_info=exc_info, stacklevel=2)
        return True

    def reset(self) -> None:
        """Log the next record in any case: the trouble is over, or it will not be logged again."""
        self._quiet_until = None
