"""The spans of a pod."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_inference import tracing
from penstock_inference.servicer import Servicer

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Versions:
    """Has no model; ``bad`` is the caller's fault, ``away`` the pod's."""

    async def find(self, model: str, version: str) -> None:
        status, code = {"bad": (422, "invalid-input"), "away": (503, "model-unavailable")}[model]
        raise PenstockError(status, code, "no")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Tracing is on, and the spans stay here."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracing_enabled", lambda: True)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


async def spans_of(exporter: InMemorySpanExporter, model: str) -> list[ReadableSpan]:
    """The spans of a ``ModelInfer`` and of a ``ServerLive`` within the caller's trace."""
    server = grpc.aio.server(interceptors=tracing.server_interceptors())
    servicer = Servicer(None, Versions())  # type: ignore[arg-type]
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("some-bin", b"\\0\\xff"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        await stub.ServerLive(pb.ServerLiveRequest(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ModelInfer(pb.ModelInferRequest(model_name=model, model_version="7"), metadata=metadata)
    await server.stop(None)
    return list(exporter.get_finished_spans())


@pytest.mark.parametrize(("model", "error", "status"), [("bad", False, 3), ("away", True, 14)])
async def test_each_inference_is_a_span_of_the_callers_trace(
    exporter: InMemorySpanExporter, model: str, error: bool, status: int
) -> None:
    """It names model, version and gRPC status, and is an error only if the pod is at fault; other calls have none."""
    (span,) = await spans_of(exporter, model)
    assert span.name.endswith("/ModelInfer")
    assert span.kind is trace.SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == f"{TRACE}-{PARENT}"
    attributes = dict(span.attributes or {})
    assert (attributes["model"], attributes["version"]) == (model, "7")
    assert attributes["rpc.grpc.status_code"] == status
    assert span.status.is_ok is not error


def test_without_a_collector_nothing_is_intercepted() -> None:
    """A pod without tracing pays nothing for it."""
    assert tracing.server_interceptors() == []
