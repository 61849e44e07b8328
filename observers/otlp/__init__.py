"""Sending spans over OTLP/HTTP for less of the processor's time than the official exporter takes.

For a whole process, and only if asked for: put these two in the places of the official classes of the same
names. Nothing here knows tasks.

============== ===========================================================================================
`processor`    the SDK's batch processor, with a ``force_flush`` that keeps its time and tells the truth
`exporter`     the official exporter, with our encoder, and an eye on the collector's answers
`answers`      what a collector says of a batch: partial success, redirects
`encoding`     puts our encoder into the official exporter, if both write the same
`sample`       the spans to see that by
`request`      a batch as bytes
`spans`        a span as bytes
`attributes`   its attributes
`wire`         numbers and fields of protobuf
============== ===========================================================================================
"""

from __future__ import annotations

from taskflow.core.checks import not_installed

try:
    from taskflow.observers.otlp.exporter import OTLPSpanExporter
    from taskflow.observers.otlp.processor import BatchSpanProcessor
except ImportError as missing:
    raise not_installed(
        "taskflow.observers.otlp", "opentelemetry-exporter-otlp-proto-http", "otlp"
    ) from missing

__all__ = ["BatchSpanProcessor", "OTLPSpanExporter"]
