"""OpenTelemetry spans of publish, ingest, model and sync, sent over OTLP/HTTP when an endpoint is set.

The variables are OpenTelemetry's own (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`,
`OTEL_SDK_DISABLED` ...), and its SDK reads them. Without an endpoint there are no spans and the SDK is not imported. From one
process to the next goes a W3C `traceparent`: a field of a stream entry, a column of the ops tables. A process that continues
from there links to that span and does not become its child, because one batch continues from many.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
MOST_LINKS = 64
"""The most links of a span. A batch of a backlog has hundreds of origins; a few say where it came from."""
SECONDS = 5.0
"""The time limit of one export. A receiver that is away costs a command this time at its end, and never stops it."""

Attribute = str | int | float | bool | None


def enabled() -> bool:
    """Return True when an endpoint is set and the SDK is not disabled."""
    listening = any(os.environ.get(name) for name in ENDPOINTS)
    return listening and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


@contextmanager
def span(name: str, *, links: Iterable[str | None] = (), **attributes: Attribute) -> Iterator[Span | None]:
    """Yield a span around the block, a child of the surrounding one. Without an endpoint yield None, at no cost.

    Of an error only the type is noted, since its text may quote data.
    """
    if not enabled():
        yield None
        return
    from opentelemetry.trace import Status, StatusCode

    with tracer().start_as_current_span(
        name, links=_links(links), attributes=_set(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def finished(name: str, *, after: float, seconds: float, failed: bool = False, **attributes: Attribute) -> str | None:
    """Record a span of work that is over and return its traceparent.

    It is a child of the present span, began `after` seconds into it, and lasted `seconds`.
    """
    if not enabled():
        return None
    from opentelemetry import trace
    from opentelemetry.trace import Status, StatusCode

    around = trace.get_current_span()
    begin = int(getattr(around, "start_time", 0) + max(0.0, after) * 1e9)
    made = tracer().start_span(name, start_time=begin, attributes=_set(attributes))
    if failed:
        made.set_status(Status(StatusCode.ERROR))
    made.end(begin + int(seconds * 1e9))
    return _text(made)


def note(current: Span | None, **attributes: Attribute) -> None:
    """Add attributes to a span; without a span this does nothing."""
    if current is not None:
        current.set_attributes(_set(attributes))


def traceparent() -> str | None:
    """Return the present span as W3C text, from which another process can continue; None when there is no span."""
    if not enabled():
        return None
    from opentelemetry import trace

    return _text(trace.get_current_span())


def _text(of: Span) -> str | None:
    context = of.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _links(texts: Iterable[str | None]) -> list[Link]:
    """Return links to the spans that the texts name. Any producer may write the texts; invalid ones are left out."""
    from opentelemetry import trace
    from opentelemetry.trace import Link
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found: dict[str, Link] = {}
    for text in texts:
        if text and text not in found and len(found) < MOST_LINKS:
            carried = TraceContextTextMapPropagator().extract({"traceparent": text})
            context = trace.get_current_span(carried).get_span_context()
            if context.is_valid:
                found[text] = Link(context)
    return list(found.values())


def _set(attributes: dict[str, Attribute]) -> dict[str, Any]:
    """Return the attributes with our prefix, without those whose value is None."""
    return {f"searchflow.{name}": value for name, value in attributes.items() if value is not None}


@functools.cache
def tracer() -> Tracer:
    """Return the tracer of SearchFlow alone: a global one would also send spans of Prefect and other installed libraries."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # one line when it gives up, none for a retry
    ours = Resource.create({"service.name": "searchflow", "service.version": version("searchflow")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    own = any(name.endswith("_TIMEOUT") for name in os.environ if name.startswith("OTEL_EXPORTER_OTLP_"))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=None if own else SECONDS)))
    atexit.register(provider.shutdown)
    _providers.append(provider)
    return provider.get_tracer("searchflow")


_providers: list[TracerProvider] = []


def flush() -> None:
    """Send the waiting spans now, for a caller that cannot wait for the end of the process."""
    for provider in _providers:
        provider.force_flush()
