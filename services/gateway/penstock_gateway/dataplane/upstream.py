"""The gRPC side: bundles of rows to the pods, by way of Envoy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import grpc
from opentelemetry import propagate, trace
from prometheus_client import Counter, Histogram

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.pools import POOL_HEADER, PRINCIPAL_HEADER, pool_of
from penstock_common.telemetry import tracer, tracing_enabled
from penstock_gateway.dataplane.bundle import BundleFormat
from penstock_gateway.dataplane.upstream_errors import (
    MAX_MESSAGE_BYTES,
    deadline_exceeded,
    is_connection_lost,
    is_reset_at,
    translate,
)
from penstock_gateway.signature.rows import RawOutputs, Rows

BUNDLE_ROWS = Histogram(
    "penstock_gateway_bundle_rows", "Rows in one message to the pods.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
CALLS = Counter("penstock_gateway_upstream_calls_total", "Messages sent to the pods, by gRPC status.", ["code"])

_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Envoy runs beside the gateway and does the balancing; reconnect to it at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
]
_STREAM_OPTIONS = [
    *_CHANNEL_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),
    # A stream that is not read keeps 64 kB here, and not the megabytes to which a fast connection's windows grow.
    ("grpc.http2.bdp_probe", 0),
]

#: Seconds for a question to the pods; Envoy gives a silent pod up after less and asks another.
_READY_TIMEOUT = 4.0
#: Seconds that a call waits for Envoy to come back, which takes about one.
_RECONNECT_PATIENCE = 3.0
#: How often a call may lose its connection. That of an Envoy that ends can be lost several times within milliseconds: its
#: listener still accepts for a moment, or the channel does not know yet. The pause before the next try doubles each time.
_MOST_LOSSES = 6
_FIRST_PAUSE = 0.02

_UNTRACED: nullcontext[list[tuple[str, str]]] = nullcontext([])


class Upstream:
    """A channel to Envoy.

    Args:
        target: ``host:port``, or ``unix:/path`` of a socket.
        pools: the models of each pool; see ``penstock_common.pools``.
    """

    def __init__(self, target: str, pools: Mapping[str, Sequence[str]]) -> None:
        self._pools = pools
        self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._stub = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        # Streams have a connection of their own, on which what nobody reads delays no prediction.
        self._streams = grpc.aio.insecure_channel(target, options=_STREAM_OPTIONS)

    async def close(self) -> None:
        await self._channel.close(None)
        await self._streams.close(None)

    def connected(self) -> bool:
        """Whether there is a connection to Envoy; starts to connect if there is none."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def model_ready(self, model: str, version: int) -> bool:
        """Whether a pod has this version loaded and warm."""
        try:
            request = pb.ModelReadyRequest(name=model, version=str(version))
            answer = await self._stub.ModelReady(request, timeout=_READY_TIMEOUT, metadata=self._metadata(model))
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def load_failure(self, model: str, version: int) -> str:
        """Why a pod could not load this version; empty if it says nothing of that."""
        try:
            request = pb.RepositoryIndexRequest()
            answer = await self._stub.RepositoryIndex(request, timeout=_READY_TIMEOUT, metadata=self._metadata(model))
        except grpc.aio.AioRpcError:
            return ""
        entries = [entry for entry in answer.models if (entry.name, entry.version) == (model, str(version))]
        return next((entry.reason for entry in entries if entry.state == "UNAVAILABLE"), "")

    def _metadata(self, model: str) -> list[tuple[str, str]]:
        pool = pool_of(model, self._pools)
        return [(POOL_HEADER, pool)] if pool else []

    async def _reconnected(self, losses: int, deadline: float, channel: grpc.aio.Channel | None = None) -> bool:
        """Whether there is a connection to Envoy again within ``_RECONNECT_PATIENCE`` and the deadline.

        Args:
            losses: how often the call has lost its connection.
        """
        if losses > _MOST_LOSSES:
            return False
        try:
            async with asyncio.timeout(min(_RECONNECT_PATIENCE, _left(deadline))):
                await asyncio.sleep(_FIRST_PAUSE * 2 ** (losses - 1))
                await (channel or self._channel).channel_ready()
        except TimeoutError:
            return False
        return True

    def sender(
        self, model: str, version: int, manifest: Manifest
    ) -> Callable[[Sequence[Rows], float], Awaitable[list[RawOutputs]]]:
        """The ``Send`` of a coalescer for one model version; see ``send`` below."""
        messages = BundleFormat(model, version, manifest)
        infer = self._stub.ModelInfer
        to_pool = self._metadata(model)
        answered = CALLS.labels("OK")

        async def send(bundle: Sequence[Rows], deadline: float) -> list[RawOutputs]:
            """One ``ModelInfer`` for all rows.

            Returns:
                The outputs for each member of the bundle.

            Raises:
                PenstockError: with the HTTP status that the gRPC status stands for.
            """
            counts = [rows.count for rows in bundle]
            total = sum(counts)
            request = messages.merge(bundle, total)
            BUNDLE_ROWS.observe(total)
            with _bundle_span(bundle) if tracing_enabled() else _UNTRACED as trace_context:
                metadata = to_pool + trace_context
                if all(rows.principal == bundle[0].principal for rows in bundle):
                    metadata = [*metadata, (PRINCIPAL_HEADER, bundle[0].principal)]
                # Predictions are idempotent: a call whose connection is lost is sent again.
                losses = 0
                while True:
                    try:
                        response = await infer(request, timeout=_left(deadline), metadata=metadata)
                        break
                    except grpc.aio.AioRpcError as err:
                        CALLS.labels(err.code().name).inc()
                        losses += 1
                        if not (is_connection_lost(err) and await self._reconnected(losses, deadline)):
                            raise translate(err, model) from None
            answered.inc()
            return messages.split(response, counts, total)

        return send

    def streamer(
        self, model: str, version: int, manifest: Manifest
    ) -> Callable[[Rows, float], AsyncGenerator[RawOutputs, None]]:
        """What streams the answers of one model version; see ``stream`` below."""
        messages = BundleFormat(model, version, manifest)
        infer = inference_pb2_grpc.GRPCInferenceServiceStub(self._streams).ModelStreamInfer
        # Errors come as statuses, with which Envoy asks another pod as long as nothing was sent.
        to_pool = [*self._metadata(model), ("triton_grpc_error", "true")]

        async def stream(rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
            """One ``ModelStreamInfer``; what it answers is read as fast as the chunks are taken.

            Raises:
                PenstockError: with the HTTP status that the gRPC status stands for.
            """
            request = messages.merge([rows], rows.count)
            metadata = [*to_pool, (PRINCIPAL_HEADER, rows.principal), *_trace_context(rows)]
            losses = 0
            begun = False
            while True:
                call = infer(_only(request), timeout=_left(deadline), metadata=metadata)
                try:
                    async for response in call:
                        begun = True
                        if response.error_message:  # of an upstream that knows no statuses
                            raise PenstockError(500, "upstream-error", f"Model {model!r} failed on this input.")
                        if response.infer_response.outputs:
                            yield messages.split(response.infer_response, [rows.count], rows.count)[0]
                    CALLS.labels("OK").inc()
                    return
                except grpc.aio.AioRpcError as err:
                    CALLS.labels(err.code().name).inc()
                    if is_reset_at(deadline, err):
                        raise deadline_exceeded() from None
                    losses += 1
                    # What was begun would begin again.
                    lost = not begun and is_connection_lost(err)
                    if not (lost and await self._reconnected(losses, deadline, self._streams)):
                        raise translate(err, model) from None
                finally:
                    call.cancel()

        return stream


async def _only(request: pb.ModelInferRequest) -> AsyncIterator[pb.ModelInferRequest]:
    yield request


def _trace_context(rows: Rows) -> list[tuple[str, str]]:
    """The metadata that carry on the trace of a request."""
    if not tracing_enabled():
        return []
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context=trace.set_span_in_context(rows.span))
    return list(carrier.items())


def _left(deadline: float) -> float:
    """Seconds until the deadline; gRPC refuses a timeout that is not positive."""
    return max(0.001, deadline - time.monotonic())


@contextmanager
def _bundle_span(bundle: Sequence[Rows]) -> Iterator[list[tuple[str, str]]]:
    """A span that is a child of the first request's and links to the others'; yields the metadata that carry it on.

    OpenTelemetry's gRPC instrumentation has no links, so it would only add a second span for the same call.
    """
    links = [trace.Link(rows.span.get_span_context()) for rows in bundle[1:]]
    with tracer().start_as_current_span(
        "bundle",
        context=trace.set_span_in_context(bundle[0].span),
        kind=trace.SpanKind.CLIENT,
        links=links,
        attributes={"requests": len(bundle)},
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield list(carrier.items())
