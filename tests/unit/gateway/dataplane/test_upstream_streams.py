"""Streams from the pods, against a gRPC server in this process."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.dataplane import upstream as upstream_module
from penstock_gateway.dataplane.upstream import Upstream
from penstock_gateway.signature.rows import RawOutputs, Rows

MANIFEST = Manifest(
    Format.PYTHON, "m.py", Task.TENSOR, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")], stream=True
)
ROW = Rows([struct.pack("<f", 1)], 1, principal="ann")


class Pod(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers each message with what the test puts in: numbers are chunks, None is the end."""

    def __init__(self) -> None:
        self.put: asyncio.Queue[float | tuple[grpc.StatusCode, str] | str | None] = asyncio.Queue()
        self.metadata: dict[str, Any] = {}
        self.calls = 0
        self.ended = asyncio.Event()

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[pb.ModelStreamInferResponse]:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        try:
            async for _ in requests:
                while (given := await self.put.get()) is not None:
                    if isinstance(given, tuple):
                        code = (("penstock-code", given[1]),) if given[1] else ()
                        await context.abort(given[0], "It said so.", trailing_metadata=code)
                    if isinstance(given, str):
                        yield pb.ModelStreamInferResponse(error_message=given)
                        continue
                    response = pb.ModelInferResponse(raw_output_contents=[struct.pack("<f", given)])
                    response.outputs.add(name="y", datatype="FP32", shape=[1])
                    yield pb.ModelStreamInferResponse(infer_response=response)
        finally:
            self.ended.set()


async def serve(pod: Pod, port: int = 0) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server()
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(pod, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port


@pytest.fixture
def pod() -> Pod:
    return Pod()


@pytest.fixture
async def upstream(pod: Pod) -> AsyncIterator[Upstream]:
    server, port = await serve(pod)
    upstream = Upstream(f"127.0.0.1:{port}", {"gpu": ["big*"]})
    yield upstream
    await upstream.close()
    await server.stop(None)


def chunk(value: float) -> RawOutputs:
    return RawOutputs([struct.pack("<f", value)])


async def test_chunks_are_given_as_they_come(pod: Pod, upstream: Upstream) -> None:
    """The pod knows the caller and the pool, and that an error is to end the call."""
    async with aclosing(upstream.streamer("big-one", 1, MANIFEST)(ROW, time.monotonic() + 30)) as chunks:
        for value in (1.0, 2.0):
            pod.put.put_nowait(value)
            assert await anext(chunks) == chunk(value)
        pod.put.put_nowait(None)
        assert await anext(chunks, None) is None
    named = {name: pod.metadata[name] for name in ("penstock-principal", "penstock-pool", "triton_grpc_error")}
    assert named == {"penstock-principal": "ann", "penstock-pool": "gpu", "triton_grpc_error": "true"}


async def test_closing_it_cancels_the_call(pod: Pod, upstream: Upstream) -> None:
    """The pod hears of it while it works on the next chunk."""
    chunks = upstream.streamer("m", 1, MANIFEST)(ROW, time.monotonic() + 30)
    pod.put.put_nowait(1.0)
    await anext(chunks)
    await chunks.aclose()
    async with asyncio.timeout(10):
        await pod.ended.wait()


@pytest.mark.parametrize("chunks_before", [0, 1])
async def test_an_error_is_the_pods(pod: Pod, upstream: Upstream, chunks_before: int) -> None:
    """With its code, also after a chunk; the call is not made again."""
    for _ in range(chunks_before):
        pod.put.put_nowait(1.0)
    pod.put.put_nowait((grpc.StatusCode.RESOURCE_EXHAUSTED, "queue-full"))
    with pytest.raises(PenstockError, match="It said so") as caught:
        _ = [one async for one in upstream.streamer("m", 1, MANIFEST)(ROW, time.monotonic() + 30)]
    assert (caught.value.status, caught.value.code, pod.calls) == (503, "queue-full", 1)


async def test_an_error_of_an_upstream_without_statuses(pod: Pod, upstream: Upstream) -> None:
    """Its text may say anything, and is not passed on."""
    pod.put.put_nowait("secret of the model")
    with pytest.raises(PenstockError) as caught:
        _ = [one async for one in upstream.streamer("m", 1, MANIFEST)(ROW, time.monotonic() + 30)]
    assert (caught.value.status, caught.value.code) == (500, "upstream-error")
    assert "secret" not in caught.value.detail


async def test_the_deadline_ends_it(pod: Pod, upstream: Upstream) -> None:
    """504, in the middle of the stream."""
    pod.put.put_nowait(1.0)
    chunks = upstream.streamer("m", 1, MANIFEST)(ROW, time.monotonic() + 0.5)
    await anext(chunks)
    with pytest.raises(PenstockError) as caught:
        await anext(chunks)
    assert (caught.value.status, caught.value.code) == (504, "deadline-exceeded")


async def test_a_stream_that_is_reset_at_its_deadline_was_late(pod: Pod, upstream: Upstream) -> None:
    """Envoy resets what it can give no status any more; an earlier reset is an error of the upstream."""
    for seconds, code in ((0.09, "deadline-exceeded"), (30.0, "upstream-error")):
        pod.put.put_nowait((grpc.StatusCode.INTERNAL, ""))
        with pytest.raises(PenstockError) as caught:
            _ = [one async for one in upstream.streamer("m", 1, MANIFEST)(ROW, time.monotonic() + seconds)]
        assert caught.value.code == code


async def test_a_connection_that_is_lost_before_the_first_chunk_is_made_again(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy starts again while a stream waits for it. After the first chunk, the loss is the stream's end."""
    monkeypatch.setattr(upstream_module, "_RECONNECT_PATIENCE", 30.0)
    server, port = await serve(pod)
    await server.stop(None)
    upstream = Upstream(f"127.0.0.1:{port}", {})
    chunks = upstream.streamer("m", 1, MANIFEST)(ROW, time.monotonic() + 60)
    coming = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0.05)
    server, _ = await serve(pod, port)
    pod.put.put_nowait(1.0)
    assert await coming == chunk(1.0)
    await server.stop(None)
    with pytest.raises(PenstockError):
        await anext(chunks)
    assert pod.calls == 1
    await upstream.close()
