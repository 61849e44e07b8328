from __future__ import annotations

from typing import Any

import pytest

from taskflow.arguments.preview import PREVIEW_BYTES, ArgumentTexts, argument_preview, argument_texts


class Panics:
    def __repr__(self) -> str:
        raise SystemExit


def octets(preview: ArgumentTexts) -> int:
    texts = [*preview.args, *preview.kwargs, *preview.kwargs.values()]
    return sum(len(text.encode(errors="replace")) for text in texts)


@pytest.mark.parametrize("show", [argument_texts, argument_preview])
def test_small_arguments_are_shown_as_they_are(show: Any):
    assert ArgumentTexts(["1", "'a'"], {"b": "None"}) == show((1, "a"), {"b": None})


@pytest.mark.parametrize("show", [argument_texts, argument_preview])
def test_an_argument_without_a_repr_is_told_by_what_it_raised(show: Any):
    assert ["<Panics.__repr__ raised SystemExit>"] == show((Panics(),), {}).args


@pytest.mark.parametrize("data", [bytes(10_000_000), bytearray(10_000_000)])
def test_of_many_bytes_the_first_are_shown_and_the_number_is_told(data: Any):
    (text,) = argument_texts((data,), {}).args

    assert text.startswith(("b'\\x00", "bytearray(b'\\x00"))
    assert len(text) < 1_100


@pytest.mark.parametrize("letter", ["x", "é", "\ud800", "😀"])
@pytest.mark.parametrize("count", [1, 2, 3, 2_000])
def test_a_preview_of_anything_is_at_most_a_kibibyte(letter: str, count: int):
    args, kwargs = (letter * 5_000,) * count, {f"{letter}{n}": letter * 5_000 for n in range(count)}

    for preview in (argument_preview(args, {}), argument_preview((), kwargs), argument_preview(args, kwargs)):
        assert PREVIEW_BYTES // 2 < octets(preview) <= PREVIEW_BYTES


def test_a_preview_counts_what_it_has_no_room_for():
    assert "… and 199 more" == argument_preview(("x" * 5_000,) * 200, {}).args[-1]
    assert {"…": "… and 200 more"} == argument_preview(
        ("x" * 5_000,), dict.fromkeys(map(str, range(200)))
    ).kwargs
