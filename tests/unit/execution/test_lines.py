from __future__ import annotations

import pytest

from taskflow.execution.lines import END_BYTES, END_LINES, KeptLines


def kept(count: int, line: str = "{}") -> KeptLines:
    lines = KeptLines()
    for number in range(count):
        lines.add(line.format(number))
    return lines


def octets(lines: list[str]) -> int:
    return sum(len(line.encode(errors="replace")) for line in lines)


def test_as_many_lines_as_both_ends_hold_are_kept_without_a_remark():
    assert [str(number) for number in range(2 * END_LINES)] == kept(2 * END_LINES).lines


def test_of_more_lines_the_first_and_the_last_are_kept_and_what_is_between_is_counted():
    lines = kept(2_500).lines
    remark = lines[END_LINES]

    assert [str(number) for number in range(END_LINES)] == lines[:END_LINES]
    assert [str(number) for number in range(2_500 - END_LINES, 2_500)] == lines[END_LINES + 1 :]
    cut = sum(len(str(number)) for number in range(END_LINES, 2_500 - END_LINES))
    assert (
        f"… cut: 1,500 lines ({cut:,} bytes); a task keeps its first and last 500 lines or 32 KiB" == remark
    )


def test_one_line_is_one_line():
    assert kept(2 * END_LINES + 1).lines[END_LINES].startswith("… cut: 1 line (3 bytes);")


@pytest.mark.parametrize("letter", ["x", "é", "\ud800"])
def test_each_end_is_bounded_by_bytes_too(letter: str):
    lines = kept(200, f"{{}} {letter * 1_000}").lines
    place = next(place for place, line in enumerate(lines) if line.startswith("… cut: "))
    first, last = lines[:place], lines[place + 1 :]

    assert END_BYTES - 3_000 < octets(first) <= END_BYTES
    assert END_BYTES - 3_000 < octets(last) <= END_BYTES
    assert (lines[0][:2], lines[-1][:4]) == ("0 ", "199 ")


@pytest.mark.parametrize("letter", ["x", "é", "\ud800"])
def test_of_a_line_that_is_too_long_for_an_end_its_own_ends_are_kept(letter: str):
    lines = KeptLines()
    lines.add(f"begin {letter * END_BYTES} end")
    (line,) = lines.lines

    assert (line[:6], line[-4:]) == ("begin ", " end")
    assert "… cut: " in line
    assert END_BYTES - 100 < octets([line]) <= END_BYTES


def test_a_large_line_at_the_end_takes_the_room_of_those_before_it():
    lines = kept(2 * END_LINES)
    lines.add("x" * END_BYTES)

    assert [str(END_LINES - 1), "x" * END_BYTES] == [lines.lines[END_LINES - 1], lines.lines[-1]]
    assert lines.lines[END_LINES].startswith("… cut: 500 lines (1,500 bytes);")
    assert END_LINES + 2 == len(lines.lines)


def test_lines_of_another_process_go_on_where_they_were_cut():
    before = kept(2_000).lines
    after = KeptLines(before)
    assert before == after.lines

    after.add("2000")
    assert kept(2_001).lines == after.lines


def test_the_size_is_that_of_what_is_kept():
    lines = kept(10_000, "{:05d}")
    again = KeptLines()
    for line in lines.lines:
        if not line.startswith("…"):
            again.add(line)

    assert again.size == lines.size
    assert kept(0).size == 0
