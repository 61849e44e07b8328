"""Pieces of the exposition formats: labels, numbers, exemplars.

Sources: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

__all__ = ["escape", "exemplar_text", "float_text", "label_text"]


def label_text(labels: Mapping[str, str]) -> str:
    """``{name="value",…}`` by name, or nothing; what stands between a metric's name and its value."""
    pairs = ",".join(f'{name}="{escape(value)}"' for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""


def escape(text: str) -> str:
    """A label value, or a help text in OpenMetrics."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


_go_float: Callable[[float], str] = floatToGoString


def float_text(value: float) -> str:
    """A number as Go writes it, as all clients do: up to a million, as Python's `repr`."""
    return repr(float(value)) if 0 <= value < 1e6 else _go_float(value)


def exemplar_text(exemplar: Exemplar) -> str:
    """An exemplar as it follows the value of a bucket in OpenMetrics."""
    moment = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {label_text(exemplar.labels) or '{}'} {float_text(exemplar.value)}{moment}"
