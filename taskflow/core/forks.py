"""Noticing a fork: the child has a copy of everything, and nothing of what runs."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["Forkable", "watch"]


class Forkable(Protocol):
    """What has to know."""

    def forked(self) -> None:
        """Take note, in the child, before anything else runs there: any lock may be held for ever."""


_watching: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(it: Forkable) -> None:
    """Call its `forked` in each child of this process, for as long as it lives."""
    _watching.add(it)


def _tell() -> None:
    for it in list(_watching):
        it.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_tell)
