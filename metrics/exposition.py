"""Writes the text formats: the same bytes as prometheus_client, several times as fast.

Writing a scrape holds the interpreter lock: requests wait meanwhile. So Taskflow's own families, which
are most of a scrape, are joined from text that they keep; prometheus_client writes all others.

This module and `taskflow.metrics.families` stay only as long as that is at least twice as fast as
prometheus_client's own metrics; ``make bench ARGS=metrics`` prints the ratio.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import Collector

from taskflow.metrics.families import SeriesFamily
from taskflow.metrics.text import escape

__all__ = ["encode"]

SECONDS_BETWEEN_PAUSES = 0.0002
"""How long lines are written before other threads get a pause."""

PAUSE_SECONDS = 0.00005
"""How long a pause is. A sleep releases the interpreter lock at once; without one, the event loop would
wait up to 5 ms for it, each time that it has something to do."""

OPENMETRICS = "application/openmetrics-text"
END = b"# EOF\n"


def encode(collector: Collector, accept: str = "") -> tuple[bytes, str]:
    """Everything that ``collector`` has, and its content type, in the format that ``accept`` asks for.

    The choice is prometheus_client's: OpenMetrics if the header names it, the classic text otherwise.
    """
    try:
        reference, content_type = choose_encoder(accept)
    except TypeError:  # what it does with "version=x"
        reference, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    openmetrics = content_type.startswith(OPENMETRICS)
    # The escapings "dots" and "values" also rewrite names that need no escaping.
    plain_names = not content_type.endswith(("=dots", "=values"))
    parts: list[bytes] = []
    for family in collector.collect():
        if isinstance(family, SeriesFamily) and plain_names:
            parts.append("".join(_with_pauses(_lines(family, openmetrics))).encode())
        else:
            parts.append(reference(OneFamily(family)).removesuffix(END))
    return b"".join(parts) + (END if openmetrics else b""), content_type


class OneFamily:
    """A collector of one family, which prometheus_client's functions ask for."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """The family."""
        return [self._family]


def _lines(family: SeriesFamily, openmetrics: bool) -> Iterator[str]:
    yield _openmetrics_head(family) if openmetrics else _classic_head(family)
    name = family.definition.name
    for series in family.series:
        yield series.text(name, exemplars=openmetrics)


def _openmetrics_head(family: SeriesFamily) -> str:
    name, unit = family.name, f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {escape(family.documentation)}\n# TYPE {name} {family.type}\n{unit}"


def _classic_head(family: SeriesFamily) -> str:
    # Families have the names of their samples here, and there is no type for information.
    name, kind = family.definition.name, "gauge" if family.type == "info" else family.type
    text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _with_pauses(pieces: Iterable[str]) -> Iterator[str]:
    """The same pieces, with pauses in which other threads run."""
    next_pause = time.perf_counter() + SECONDS_BETWEEN_PAUSES
    for piece in pieces:
        yield piece
        if time.perf_counter() > next_pause:
            time.sleep(PAUSE_SECONDS)
            next_pause = time.perf_counter() + SECONDS_BETWEEN_PAUSES
