"""The gRPC side: bundles of rows to the pods, by way of Envoy."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry import propagate, trace
from prometheus_client import Counter, Histogram

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import GRPC_TO_HTTP, PenstockError
from penstock_common.manifest import Manifest
from penstock_common.pools import POOL_HEADER, pool_of
from penstock_common.telemetry import tracer, tracing_enabled
from penstock_common.tensors import pack_bytes, unpack_bytes

BUNDLE_ROWS = Histogram(
    "penstock_gateway_bundle_rows", "Rows in one message to the pods.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
CALLS = Counter("penstock_gateway_upstream_calls_total", "Messages sent to the pods, by gRPC status.", ["code"])

_MAX_MESSAGE = 64 * 1024 * 1024
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    # Envoy stands beside the gateway and does the balancing; reconnect to it at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
]

_ROW_COULD_BE_TO_BLAME = frozenset({400, 413, 415, 422, 500})

_UNTRACED: nullcontext[list[tuple[str, str]]] = nullcontext([])


def row_could_be_to_blame(err: Exception) -> bool:
    """Whether a bundle's error may go away for most rows when they are sent alone."""
    return isinstance(err, PenstockError) and err.status in _ROW_COULD_BE_TO_BLAME


@dataclass(slots=True)
class Rows:
    """What one request adds to a bundle: raw tensor data per input, ``count`` rows each, and the request's span."""

    inputs: list[bytes]
    count: int
    span: trace.Span = trace.INVALID_SPAN


class Upstream:
    """A channel to Envoy.

    Args:
        target: ``host:port``.
        pools: the models of each pool; see ``penstock_common.pools``.
    """

    def __init__(self, target: str, pools: Mapping[str, Sequence[str]]) -> None:
        self._pools = pools
        self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._stub = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close(None)

    def connected(self) -> bool:
        """Whether Envoy holds a connection; asks for one where not."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def model_ready(self, model: str, version: int) -> bool:
        """Whether a pod has this version loaded and warm."""
        try:
            request = pb.ModelReadyRequest(name=model, version=str(version))
            answer = await self._stub.ModelReady(request, timeout=2.0, metadata=self._metadata(model))
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    def _metadata(self, model: str) -> list[tuple[str, str]]:
        pool = pool_of(model, self._pools)
        return [(POOL_HEADER, pool)] if pool else []

    def sender(
        self, model: str, version: int, manifest: Manifest
    ) -> Callable[[Sequence[Rows], float], Awaitable[list[list[bytes]]]]:
        """The ``Send`` of a coalescer for one model version; see ``send`` below."""
        inputs = [(field.name, field.datatype, list(field.shape)) for field in manifest.inputs]
        wanted = [output.name for output in manifest.outputs]
        name, number = model, str(version)
        infer = self._stub.ModelInfer
        to_pool = self._metadata(model)
        answered = CALLS.labels("OK")

        async def send(bundle: Sequence[Rows], deadline: float) -> list[list[bytes]]:
            """One ``ModelInfer`` for all rows.

            Returns:
                Raw tensor data per output, for each member of the bundle.

            Raises:
                PenstockError: with the HTTP status that the gRPC status stands for.
            """
            total = sum([rows.count for rows in bundle])
            request = pb.ModelInferRequest(model_name=name, model_version=number)
            for i, (input_name, datatype, shape) in enumerate(inputs):
                request.inputs.add(name=input_name, datatype=datatype, shape=[total, *shape])
                request.raw_input_contents.append(b"".join([rows.inputs[i] for rows in bundle]))
            BUNDLE_ROWS.observe(total)
            try:
                with _bundle_span(bundle) if tracing_enabled() else _UNTRACED as trace_context:
                    response = await infer(
                        request, timeout=max(0.001, deadline - time.monotonic()), metadata=to_pool + trace_context
                    )
            except grpc.aio.AioRpcError as err:
                CALLS.labels(err.code().name).inc()
                raise translate(err, name) from None
            answered.inc()
            return _split(response, wanted, [rows.count for rows in bundle], total)

        return send


@contextmanager
def _bundle_span(bundle: Sequence[Rows]) -> Iterator[list[tuple[str, str]]]:
    """A bundle's span is a child of its first row's and links to the others; gives the metadata that carry it on."""
    links = [trace.Link(rows.span.get_span_context()) for rows in bundle[1:]]
    with tracer().start_as_current_span(
        "bundle", context=trace.set_span_in_context(bundle[0].span), links=links, attributes={"rows": len(bundle)}
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        yield list(carrier.items())


def _split(
    response: pb.ModelInferResponse, wanted: Sequence[str], counts: Sequence[int], total: int
) -> list[list[bytes]]:
    """Cut each output back into the bundle's members."""
    raw_by_name = dict(zip([o.name for o in response.outputs], response.raw_output_contents, strict=False))
    bytes_typed = {o.name for o in response.outputs if o.datatype == "BYTES"}
    shares: list[list[bytes]] = [[] for _ in counts]
    for name in wanted:
        raw = raw_by_name.get(name)
        if raw is None:
            raise PenstockError(500, "bad-model-answer", f"The model's answer lacks its output {name!r}.")
        if len(counts) == 1:
            shares[0].append(raw)
        elif name in bytes_typed:
            elements = unpack_bytes(raw, next(_elements(o) for o in response.outputs if o.name == name))
            per_row = len(elements) // total
            at = 0
            for share, count in zip(shares, counts, strict=True):
                share.append(pack_bytes(elements[at : at + count * per_row]))
                at += count * per_row
        else:
            width = len(raw) // total
            at = 0
            for share, count in zip(shares, counts, strict=True):
                end = at + count * width
                share.append(raw[at:end])
                at = end
    return shares


def _elements(output: pb.ModelInferResponse.InferOutputTensor) -> int:
    count = 1
    for dimension in output.shape:
        count *= dimension
    return count


def translate(err: grpc.aio.AioRpcError, model: str) -> PenstockError:
    """A pod's or Envoy's gRPC status as the problem a client sees.

    Only a pod writes details for clients, and says so with its ``penstock-code``;
    everything else (Envoy's own words, a broken stream) stays inside.
    """
    status = GRPC_TO_HTTP.get(err.code(), 500)
    trailing: Any = err.trailing_metadata() or ()
    code = next((value for key, value in trailing if key == "penstock-code"), None)
    if code and status != 500:
        headers = {"Retry-After": "1"} if status == 503 else None
        return PenstockError(status, str(code), err.details() or "", headers=headers)
    if status == 503:
        return PenstockError(
            503,
            "upstream-unavailable",
            f"No pod that serves {model!r} could be reached just now; try again shortly.",
            headers={"Retry-After": "1"},
        )
    if status == 504:
        return PenstockError(504, "deadline-exceeded", "The model did not answer in time.")
    if status == 404:
        return PenstockError(404, "unknown-model", f"No pod serves {model!r}.")
    return PenstockError(500, "upstream-error", f"Model {model!r} failed on this input.")
