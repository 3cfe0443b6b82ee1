"""Logs and traces, the same in every service.

Logs are JSON lines on standard output. Traces are sent over OTLP/gRPC only if
``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; without it, ``tracer()`` costs nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import cache

import structlog
from opentelemetry import trace
from opentelemetry.propagate import set_global_textmap
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from penstock_common.log_bounds import RepetitionFilter, shorten_values


def configure_logging(service: str, level: str = "info") -> None:
    """Send structlog's and the standard library's records to standard output as JSON lines."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_service(service),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            shorten_values,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                shorten_values,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(RepetitionFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _add_service(service: str) -> structlog.typing.Processor:
    def add(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add


@cache
def tracing_enabled() -> bool:
    """Return whether the environment names a collector; it is read once in each process."""
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def configure_tracing(service: str) -> Callable[[], None]:
    """Start the OTLP exporter if an endpoint is set.

    Returns:
        A function that flushes and stops it; call it after the drain.
    """
    set_global_textmap(TraceContextTextMapPropagator())
    if not tracing_enabled():
        return lambda: None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"penstock-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def tracer() -> trace.Tracer:
    return trace.get_tracer("penstock")
