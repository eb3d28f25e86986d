"""Spans from publish over ingest and model to sync, sent to a real OTLP receiver and linked across processes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from searchflow import streams, tracing, transformation, warehouse
from searchflow.ingestion import worker
from searchflow.ops import stages
from searchflow.settings import Settings
from tests.ops.receiver import Receiver, receiving

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        tracing.tracer.cache_clear()
        yield found
        tracing.flush()
        tracing.tracer.cache_clear()


def spans(receiver: Receiver) -> dict[str, Span]:
    tracing.flush()
    found: dict[str, Span] = {}
    for request in receiver.requests:
        assert request.path == "/v1/traces"
        document = ExportTraceServiceRequest.FromString(request.body)
        for resource in document.resource_spans:
            said = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert said["service.name"] == "searchflow"
            assert said["deployment.environment.name"] == "test"
            found |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    return found


def attributes(span: Span) -> dict[str, object]:
    return {
        each.key.removeprefix("searchflow."): each.value.int_value or each.value.string_value
        for each in span.attributes
    }


def search(number: int) -> bytes:
    return (
        f'{{"event_id": "018f0000-0000-7000-8000-{number:012d}", "event_type": "search", "session_id": "s", '
        '"timestamp": "2026-03-10T11:00:00Z", "query": "a@b.example"}'
    ).encode()


def test_a_publication_is_linked_to_its_ingestion_its_models_and_its_sync(
    fresh_platform: Settings, receiver: Receiver
) -> None:
    import activations
    from searchflow.errors import GateFailed

    clock = functools.partial(lambda: NOW)
    with stages.noted(fresh_platform, "generation", "run-1", clock=clock), streams.connect(fresh_platform) as client:
        streams.publish(client, "search", [search(1), search(2)])
        client.xadd(streams.EVENT_STREAMS["search"], {"data": search(3), "traceparent": "made up by a client"})
        client.xadd(streams.EVENT_STREAMS["search"], {"data": search(4), "traceparent": "0" * 1000})
    assert worker.ingest_stream(fresh_platform, "search", clock=clock).counts.stored == 4
    transformation.transform(fresh_platform, now=NOW)
    with pytest.raises(GateFailed):  # its gate was never opened: that is an outcome too
        activations.run_sync(fresh_platform, "crm_user_segments", now=NOW)

    found = spans(receiver)
    publish, ingest, transform = found["publish search"], found["ingest search"], found["transform prod"]
    assert publish.parent_span_id == found["stage generation"].span_id
    assert [link.span_id for link in ingest.links] == [publish.span_id]
    assert [link.span_id for link in transform.links] == [ingest.span_id]
    model = found["model activation.act_crm_user_segments"]
    assert model.parent_span_id == transform.span_id
    assert transform.start_time_unix_nano < model.end_time_unix_nano
    sync = found["sync crm_user_segments"]
    assert [link.span_id for link in sync.links] == [model.span_id]
    assert sync.status.message == "GateFailed"
    assert attributes(ingest)["received"] == 4
    assert attributes(publish)["events"] == 2
    assert not any(b"b.example" in request.body for request in receiver.requests)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        row = connection.execute("SELECT traceparent FROM ops.ingestion_batches").fetchone()
    assert row is not None
    assert row[0].startswith(f"00-{ingest.trace_id.hex()}-{ingest.span_id.hex()}-")


def test_without_an_endpoint_nothing_is_traced_and_entries_have_no_field(
    fresh_platform: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    with tracing.span("nothing") as span, streams.connect(fresh_platform) as client:
        assert span is None
        streams.publish(client, "search", [search(1)])
        [(_, fields)] = streams.read(client, streams.EVENT_STREAMS["search"], streams.START, entries=1)
    assert set(fields) == {b"data"}
