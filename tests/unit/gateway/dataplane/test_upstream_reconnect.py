"""A call whose connection to Envoy is lost is sent again when there is a connection again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.dataplane import upstream as upstream_module
from penstock_gateway.dataplane.upstream import Upstream
from penstock_gateway.signature.rows import RawOutputs, Rows
from tests.installation import free_ports

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)
Infer = Callable[[pb.ModelInferRequest, grpc.aio.ServicerContext], Awaitable[pb.ModelInferResponse]]


class Pods(inference_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, infer: Infer) -> None:
        self.ModelInfer = infer  # type: ignore[method-assign]


async def serve(port: int, infer: Infer) -> grpc.aio.Server:
    server = grpc.aio.server()
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Pods(infer), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


async def echo(request: pb.ModelInferRequest, context: grpc.aio.ServicerContext) -> pb.ModelInferResponse:
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[1])
    return pb.ModelInferResponse(outputs=[output], raw_output_contents=list(request.raw_input_contents))


async def test_a_call_outlives_its_connection() -> None:
    """The server dies while it holds a call, and another takes its place: the caller gets its answer."""
    (port,) = free_ports(1)
    reached = asyncio.Event()

    async def never(request: pb.ModelInferRequest, context: grpc.aio.ServicerContext) -> pb.ModelInferResponse:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    first = await serve(port, never)
    upstream = Upstream(f"127.0.0.1:{port}", {})
    send = upstream.sender("m", 1, MANIFEST)
    call = asyncio.create_task(send([Rows([b"abcd"], 1)], time.monotonic() + 30))
    await asyncio.wait_for(reached.wait(), 10)
    await first.stop(None)
    second = await serve(port, echo)
    try:
        assert await asyncio.wait_for(call, 30) == [RawOutputs([b"abcd"])]
    finally:
        await upstream.close()
        await second.stop(None)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def _forward_until_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward what a client sends, up to its first request (RFC 9113: preface, then frames with a head of 9 bytes)."""
    writer.write(await reader.readexactly(24))
    while (head := await reader.readexactly(9))[3] != 0x1:
        writer.write(head + await reader.readexactly(int.from_bytes(head[:3])))


@asynccontextmanager
async def ends_connections(losses: int) -> AsyncIterator[Upstream]:
    """An upstream by way of a proxy that drops its first ``losses`` connections as soon as a request comes on them."""
    (port,) = free_ports(1)
    dropped = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(_forward(from_server, writer))
        try:
            if dropped < losses:
                await _forward_until_headers(reader, to_server)
                dropped += 1
            else:
                await _forward(reader, to_server)
        finally:
            back.cancel()
            writer.close()
            to_server.close()

    server = await serve(port, echo)
    proxy = await asyncio.start_server(connected, "127.0.0.1")
    upstream = Upstream(f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}", {})
    try:
        yield upstream
    finally:
        await upstream.close()
        proxy.close()
        await server.stop(None)


async def test_a_connection_may_be_lost_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Envoy that ends still accepts connections and drops them: the call goes on until one holds."""
    monkeypatch.setattr(upstream_module, "_FIRST_PAUSE", 0.001)
    async with ends_connections(losses=3) as upstream:
        answer = await upstream.sender("m", 1, MANIFEST)([Rows([b"abcd"], 1)], time.monotonic() + 30)
    assert answer == [RawOutputs([b"abcd"])]


async def test_a_call_that_ends_every_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that Envoy itself cannot survive must not end it for as long as the request's time lasts."""
    monkeypatch.setattr(upstream_module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(upstream_module, "_MOST_LOSSES", 2)
    async with ends_connections(losses=3) as upstream:
        with pytest.raises(PenstockError) as refused:
            await upstream.sender("m", 1, MANIFEST)([Rows([b"abcd"], 1)], time.monotonic() + 30)
    assert (refused.value.status, refused.value.code) == (503, "upstream-unavailable")


async def test_a_server_that_stays_away_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer for a connection than the patience allows."""
    monkeypatch.setattr(upstream_module, "_RECONNECT_PATIENCE", 0.05)
    (port,) = free_ports(1)
    upstream = Upstream(f"127.0.0.1:{port}", {})
    with pytest.raises(PenstockError) as refused:
        await upstream.sender("m", 1, MANIFEST)([Rows([b"abcd"], 1)], time.monotonic() + 30)
    assert (refused.value.status, refused.value.code) == (503, "upstream-unavailable")
    await upstream.close()


async def test_what_the_other_side_refuses_is_not_sent_again() -> None:
    """An UNAVAILABLE that somebody has answered (no healthy pod, say) is the answer."""
    (port,) = free_ports(1)
    calls = 0

    async def refuse(request: pb.ModelInferRequest, context: grpc.aio.ServicerContext) -> pb.ModelInferResponse:
        nonlocal calls
        calls += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream", (("server", "envoy"),))
        raise AssertionError

    server = await serve(port, refuse)
    upstream = Upstream(f"127.0.0.1:{port}", {})
    with pytest.raises(PenstockError, match="No pod"):
        await upstream.sender("m", 1, MANIFEST)([Rows([b"abcd"], 1)], time.monotonic() + 30)
    assert calls == 1
    await upstream.close()
    await server.stop(None)
