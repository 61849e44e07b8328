"""The log lines that a record keeps: the first and the last ones, with a remark where some were cut."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from sys import getsizeof
from typing import Final

__all__ = ["END_BYTES", "END_LINES", "KeptLines"]

END_LINES: Final = 500
END_BYTES: Final = 32 * 1024
"""What a task keeps of its log at each end."""

CUT = re.compile(r"… cut: ([\d,]+) lines? \(([\d,]+) bytes\)")


class KeptLines:
    """The beginning and the end of a task's log: the lines just before a failure say most about it.

    Not thread-safe; others may read ``lines`` at any time.

    Args:
        earlier: the lines of a record that another process has left behind.

    Attributes:
        lines: the lines, with the remark between the two ends if any were cut.
        size: bytes of memory that they take, about.
    """

    __slots__ = ("_cut_bytes", "_cut_lines", "_end", "_end_bytes", "_start", "_start_bytes", "lines", "size")

    def __init__(self, earlier: Iterable[str] = ()) -> None:
        self.lines: list[str] = []
        self.size = 0
        self._start: int | None = None  # how many lines are in the beginning, once that is full
        self._start_bytes = 0
        self._end: deque[tuple[int, int]] = deque()
        self._end_bytes = 0
        self._cut_lines = self._cut_bytes = 0
        for line in earlier:
            found = CUT.match(line)
            if found is not None and self._start is None:
                self._take_remark(line, *found.groups())
            else:
                self.add(line)

    def add(self, line: str) -> None:
        """Keep a line; of one that is too long for either end, its own beginning and end."""
        octets = _octets(line)
        if octets > END_BYTES:
            line = _shortened(line)
            octets = _octets(line)
        memory = getsizeof(line)
        self.size += memory
        if self._start is None:
            if len(self.lines) < END_LINES and self._start_bytes + octets <= END_BYTES:
                self._start_bytes += octets
                self.lines.append(line)
                return
            self._start = len(self.lines)
        self.lines.append(line)
        self._end.append((octets, memory))
        self._end_bytes += octets
        while len(self._end) > END_LINES or self._end_bytes > END_BYTES:
            self._cut(self._start)

    def _cut(self, place: int) -> None:
        """Leave out the first line of the end."""
        octets, memory = self._end.popleft()
        self._end_bytes -= octets
        self.size -= memory
        replaced = 2 if self._cut_lines else 1  # the former remark, too
        self._cut_lines += 1
        self._cut_bytes += octets
        # In one step, because others may read meanwhile.
        self.lines[place : place + replaced] = [self._remark()]

    def _remark(self) -> str:
        lines = "line" if self._cut_lines == 1 else "lines"
        kept = f"a task keeps its first and last {END_LINES} lines or {END_BYTES // 1024} KiB"
        return f"… cut: {self._cut_lines:,} {lines} ({self._cut_bytes:,} bytes); {kept}"

    def _take_remark(self, remark: str, lines: str, octets: str) -> None:
        self._start = len(self.lines)
        self._cut_lines, self._cut_bytes = (int(number.replace(",", "")) for number in (lines, octets))
        self.lines.append(remark)


def _octets(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode(errors="replace"))


def _shortened(line: str) -> str:
    """The beginning and the end of a long line, together within the limit of an end."""
    octets = line.encode(errors="replace")
    part = END_BYTES // 2 - 50  # room for the remark
    cut = len(octets) - 2 * part
    start, end = (each.decode(errors="ignore") for each in (octets[:part], octets[-part:]))
    return f"{start}… cut: {cut:,} bytes …{end}"
