"""The spans of the pod: OpenTelemetry's gRPC instrumentation around ``ModelInfer``."""

from __future__ import annotations

from typing import Any

import grpc
from opentelemetry import trace

from penstock_common.contract import inference_pb2 as pb
from penstock_common.telemetry import tracing_enabled


def server_interceptors() -> list[grpc.aio.ServerInterceptor[Any, Any]]:
    """Return what opens a server span, in the caller's trace, for each ``ModelInfer``; nothing if tracing is off."""
    if not tracing_enabled():
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    return [aio_server_interceptor(filter_=filters.method_name("ModelInfer"))]  # type: ignore[no-untyped-call]


def describe_span(request: pb.ModelInferRequest) -> None:
    """Set the model and version that a request asks for as attributes of the current span, if tracing is on."""
    if tracing_enabled():
        trace.get_current_span().set_attributes({"model": request.model_name, "version": request.model_version})
