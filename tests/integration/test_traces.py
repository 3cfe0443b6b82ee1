"""Traces over OTLP: a request is one trace, from the gateway through Envoy to the pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.installation import Installation

pytestmark = pytest.mark.integration


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps every span with the name of its service."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


CHAIN = [
    ("penstock-gateway", "POST /v1/models/{model}/predict"),
    ("penstock-gateway", "bundle"),
    ("penstock-envoy", "ingress"),
    ("penstock-inference", "/inference.GRPCInferenceService/ModelInfer"),
]


def test_one_request_is_one_trace(alone: Callable[..., Installation], collector: tuple[Collector, str]) -> None:
    """The caller's trace has a span of the gateway, the bundle, Envoy and the pod, each within the one before."""
    received, endpoint = collector
    installation = alone(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

    def found() -> list[tuple[str, Span]]:
        return [(service, span) for service, span in received.spans if span.trace_id.hex() == trace_id]

    try:
        installation.up()
        answer = httpx.post(
            f"{installation.url}/v1/models/spam/predict",
            headers={"API-Key": installation.key, "traceparent": f"00-{trace_id}-{parent}-01"},
            json={"text": "hello"},
        )
        assert answer.status_code == 200
        give_up = time.monotonic() + 60
        while len(found()) < len(CHAIN):
            assert time.monotonic() < give_up, found()
            time.sleep(0.05)
    finally:
        installation.down()
    spans = {(service, span.name): span for service, span in found()}
    assert len(found()) == len(CHAIN)
    assert sorted(spans) == sorted(CHAIN)
    assert spans[CHAIN[0]].parent_span_id.hex() == parent
    for outer, inner in pairwise(spans[name] for name in CHAIN):
        assert inner.parent_span_id == outer.span_id
        assert outer.start_time_unix_nano <= inner.start_time_unix_nano
        assert inner.end_time_unix_nano <= outer.end_time_unix_nano
