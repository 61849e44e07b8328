"""The text formats, byte for byte as prometheus_client writes them, several times as fast.

A scrape is written while the application works in the same interpreter: whatever it costs, requests
wait for. Families that are out of the ordinary are left to prometheus_client.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

__all__ = ["encode"]

BREATH = 0.00005
"""Seconds of sleep after each `STRETCH` of samples, for threads that wait for the interpreter."""

STRETCH = 500

float_text: Callable[[float], str] = floatToGoString
"""A number as the reference writes it: `repr`, but for what is negative, infinite or from a million up."""

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
    # The other escapings rewrite names that need no escaping.
    ordinary = not content_type.endswith(("=dots", "=values"))
    labels = LabelTexts()
    parts: list[bytes] = []
    for family in collector.collect():
        text = _family(family, labels, openmetrics=openmetrics) if ordinary else None
        parts.append(reference(OneFamily(family)).removesuffix(END) if text is None else text.encode())
        time.sleep(BREATH)
    return b"".join(parts) + (END if openmetrics else b""), content_type


class OneFamily:
    """A collector of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


class LabelTexts(dict[tuple[str, str], str]):
    """Label pairs as text. They repeat from sample to sample, and escaping is what costs."""

    def __missing__(self, pair: tuple[str, str]) -> str:
        name, value = pair
        if not _LABEL_NAME.fullmatch(name):
            raise OutOfTheOrdinaryError
        text = self[pair] = f'{name}="{_escape(value)}"'
        return text


class OutOfTheOrdinaryError(Exception):
    """A family with something that only the reference encoder knows how to write."""


_METRIC_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_SPECIAL_SUFFIXES = ("_created", "_gsum", "_gcount")

# Classic text has fewer types than OpenMetrics, and puts the suffix into the family's name.
_CLASSIC_TYPES = {"info": "gauge", "stateset": "gauge", "unknown": "untyped"}
_CLASSIC_SUFFIXES = {"counter": "_total", "info": "_info"}


def _family(family: Metric, labels: LabelTexts, *, openmetrics: bool) -> str | None:
    """The family's lines; ``None`` if it is out of the ordinary."""
    lines = [_openmetrics_head(family) if openmetrics else _classic_head(family)]
    try:
        _check_family(family, openmetrics)
        for start in range(0, len(family.samples), STRETCH):
            lines += _lines(family.samples[start : start + STRETCH], labels, openmetrics)
            time.sleep(BREATH)
    except OutOfTheOrdinaryError:
        return None
    return "".join(lines)


def _openmetrics_head(family: Metric) -> str:
    name, unit = family.name, f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
    return f"# HELP {name} {_escape(family.documentation)}\n# TYPE {name} {family.type}\n{unit}"


def _classic_head(family: Metric) -> str:
    name = family.name + _CLASSIC_SUFFIXES.get(family.type, "")
    text = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {_CLASSIC_TYPES.get(family.type, family.type)}\n"


def _check_family(family: Metric, openmetrics: bool) -> None:
    names = {family.name, *(sample.name for sample in family.samples)}
    special = not openmetrics and any(name.endswith(_SPECIAL_SUFFIXES) for name in names)
    if special or family.type == "gaugehistogram" or not all(map(_METRIC_NAME.fullmatch, names)):
        raise OutOfTheOrdinaryError


def _lines(samples: Iterable[Sample], labels: LabelTexts, openmetrics: bool) -> list[str]:
    lines = []
    for sample in samples:
        name, pairs, value, timestamp, exemplar, native = sample
        if value is None or timestamp is not None or native is not None:
            raise OutOfTheOrdinaryError
        text = f"{{{','.join([labels[pair] for pair in sorted(pairs.items())])}}}" if pairs else ""
        number = repr(value) if type(value) is float and 0 <= value < 1e6 else float_text(value)
        tail = _exemplar(sample, labels) if exemplar is not None and openmetrics else ""
        lines.append(f"{name}{text} {number}{tail}\n")
    return lines


def _exemplar(sample: Sample, labels: LabelTexts) -> str:
    exemplar = sample.exemplar
    if exemplar is None or not sample.name.endswith(("_bucket", "_total")):
        raise OutOfTheOrdinaryError
    text = ",".join([labels[pair] for pair in sorted(exemplar.labels.items())])
    moment = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {{{text}}} {float_text(exemplar.value)}{moment}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
