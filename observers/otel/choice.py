"""Lean spans where they are known to be like the SDK's, and otherwise the tracer's own."""

from __future__ import annotations

import logging
import sys
from functools import cache
from typing import TYPE_CHECKING, TypeGuard

from opentelemetry.trace import Tracer

from taskflow.observers.otel.spans import Spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Tracer as SdkTracer

__all__ = ["spans_of"]

logger = logging.getLogger("taskflow.observers")


def spans_of(tracer: Tracer) -> Spans:
    """`LeanSpans` of the SDK's tracer; of any other one, and of an SDK that is not known, its own spans."""
    if not _is_of_sdk(tracer) or not _is_known():
        return Spans(tracer)
    from taskflow.observers.otel.lean import LeanSpans

    return LeanSpans(tracer)


def _is_of_sdk(tracer: Tracer) -> TypeGuard[SdkTracer]:
    # Without an import: who has no such tracer need not have the SDK.
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    return sdk is not None and type(tracer) is sdk.Tracer


@cache
def _is_known() -> bool:
    """Whether lean spans may stand for the SDK's; says why not, once."""
    difference = _difference()
    if difference is not None:
        logger.warning(
            "this OpenTelemetry SDK is not known to Taskflow (%s): spans are made in the ordinary way, which "
            "takes longer",
            difference,
        )
    return difference is None


def _difference() -> str | None:
    try:
        from taskflow.observers.otel.rehearsal import difference
    except Exception as error:  # a private name that has gone
        return f"{type(error).__name__}: {error}"
    return difference()
