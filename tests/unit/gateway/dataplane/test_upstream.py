"""Calls to the pods, against a gRPC server in this process."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.dataplane import upstream as upstream_module
from penstock_gateway.dataplane.upstream import Upstream
from penstock_gateway.signature.rows import RawOutputs, Rows

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)
POOLS = {"gpu": ["big*"]}


def calls(code: str) -> float:
    """Messages that were counted under a gRPC status."""
    return REGISTRY.get_sample_value("penstock_gateway_upstream_calls_total", {"code": code}) or 0.0


def rows(*values: float) -> Rows:
    return Rows([struct.pack(f"<{len(values)}f", *values)], len(values))


def later() -> float:
    return time.monotonic() + 60


class Pod(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers its inputs, unless ``instead`` does something else, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[pb.ModelInferRequest] = []
        self.pools: list[str | None] = []
        self.principals: list[str | None] = []
        self.seconds: list[float | None] = []
        self.ready: set[tuple[str, str]] = set()
        self.instead: Callable[[Any], Awaitable[None]] | None = None

    async def _note(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self.pools.append(metadata.get("penstock-pool"))
        self.principals.append(metadata.get("penstock-principal"))
        self.seconds.append(context.time_remaining())
        if self.instead is not None:
            await self.instead(context)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        self.requests.append(request)
        await self._note(context)
        response = pb.ModelInferResponse(raw_output_contents=request.raw_input_contents)
        response.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
        return response

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        await self._note(context)
        return pb.ModelReadyResponse(ready=(request.name, request.version) in self.ready)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Upstream]:
    upstream = Upstream(f"127.0.0.1:{port}", POOLS)
    try:
        yield upstream
    finally:
        await upstream.close()


@asynccontextmanager
async def serving(pod: Pod, port: int = 0) -> AsyncIterator[int]:
    """Serve a pod; yields its port."""
    server = grpc.aio.server()
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(pod, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    yield port
    await server.stop(None)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Pod, int]]:
    """A pod and its port."""
    pod = Pod()
    async with serving(pod) as port:
        yield pod, port


@pytest.fixture
async def pod(served: tuple[Pod, int]) -> Pod:
    return served[0]


@pytest.fixture
async def upstream(served: tuple[Pod, int]) -> AsyncIterator[Upstream]:
    async with connected(served[1]) as upstream:
        yield upstream


async def nobody(_: Any) -> None:
    await asyncio.Event().wait()


def refuse(status: grpc.StatusCode, detail: str, code: str) -> Callable[[Any], Awaitable[None]]:
    async def abort(context: Any) -> None:
        await context.abort(status, detail, trailing_metadata=(("penstock-code", code),))

    return abort


async def test_a_bundle_is_one_message(pod: Pod, upstream: Upstream) -> None:
    """The rows of all members travel together, to the version that was asked; each member gets its own rows back."""
    send = upstream.sender("price", 7, MANIFEST)
    bundle = [rows(1), rows(2, 3)]
    assert await send(bundle, later()) == [RawOutputs(member.inputs) for member in bundle]
    (request,) = pod.requests
    assert (request.model_name, request.model_version, list(request.inputs[0].shape)) == ("price", "7", [3])


async def test_the_deadline_goes_along(pod: Pod, upstream: Upstream) -> None:
    """A pod knows how long its answer is awaited."""
    send = upstream.sender("price", 1, MANIFEST)
    now = time.monotonic()
    await send([rows(1)], now + 500)
    await send([rows(1)], now + 5000)
    shorter, longer = pod.seconds
    assert shorter is not None and longer is not None
    assert 0 < shorter < 1000 < longer < 10000


async def test_a_pod_that_does_not_answer_in_time_is_504(pod: Pod, upstream: Upstream) -> None:
    """When the deadline passes, the call ends though the pod is still at work."""
    pod.instead = nobody
    with pytest.raises(PenstockError) as caught:
        await upstream.sender("price", 1, MANIFEST)([rows(1)], time.monotonic() - 1)
    assert (caught.value.status, caught.value.code) == (504, "deadline-exceeded")


async def test_a_pods_refusal_is_the_clients(pod: Pod, upstream: Upstream) -> None:
    """What a pod says of a row, it says to the client."""
    pod.instead = refuse(grpc.StatusCode.INVALID_ARGUMENT, "Field 'x' is too long.", "invalid-input")
    with pytest.raises(PenstockError, match="too long") as caught:
        await upstream.sender("price", 1, MANIFEST)([rows(1)], later())
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


async def test_without_envoy_a_client_is_asked_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, and nobody does soon: 503 with Retry-After."""
    monkeypatch.setattr(upstream_module, "_RECONNECT_PATIENCE", 0.01)
    async with connected(await closed_port()) as upstream:
        with pytest.raises(PenstockError) as caught:
            await upstream.sender("price", 1, MANIFEST)([rows(1)], later())
    assert (caught.value.status, caught.value.code) == (503, "upstream-unavailable")
    assert caught.value.headers == {"Retry-After": "1"}


async def test_a_call_whose_connection_is_lost_is_sent_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy starts again while a call waits for it: the call is answered."""
    monkeypatch.setattr(upstream_module, "_RECONNECT_PATIENCE", 30.0)
    port, pod = await closed_port(), Pod()
    lost = calls("UNAVAILABLE")
    async with connected(port) as upstream:
        sending = asyncio.ensure_future(upstream.sender("price", 1, MANIFEST)([rows(1)], later()))
        async with asyncio.timeout(30):
            while calls("UNAVAILABLE") == lost:
                await asyncio.sleep(0.001)
            async with serving(pod, port):
                assert await sending == [RawOutputs(rows(1).inputs)]
    assert len(pod.requests) == 1


async def test_what_a_pod_refuses_is_not_sent_again(pod: Pod, upstream: Upstream) -> None:
    """UNAVAILABLE of a pod is its answer: the client is told, and Envoy has tried the others already."""
    pod.instead = refuse(grpc.StatusCode.UNAVAILABLE, "It could not be loaded here.", "model-unavailable")
    with pytest.raises(PenstockError) as caught:
        await upstream.sender("price", 1, MANIFEST)([rows(1)], later())
    assert caught.value.code == "model-unavailable"
    assert len(pod.requests) == 1


async def closed_port() -> int:
    """A port that nobody listens on."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1")
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.mark.parametrize(("model", "pool"), [("big-one", "gpu"), ("price", None)])
async def test_the_pool_of_a_model_is_named(pod: Pod, upstream: Upstream, model: str, pool: str | None) -> None:
    """Envoy chooses the pods by metadata, of predictions and of probes; a model of no pool names none."""
    await upstream.sender(model, 1, MANIFEST)([rows(1)], later())
    await upstream.model_ready(model, 1)
    assert pod.pools == [pool, pool]


@pytest.mark.parametrize(("callers", "named"), [(["ann", "ann"], "ann"), (["ann", "bob"], None)])
async def test_a_bundle_of_one_caller_names_it(
    pod: Pod, upstream: Upstream, callers: list[str], named: str | None
) -> None:
    """The pods share their time between callers; a bundle of several is nobody's in particular."""
    bundle = [Rows(rows(1).inputs, 1, principal=caller) for caller in callers]
    await upstream.sender("price", 1, MANIFEST)(bundle, later())
    assert pod.principals == [named]


async def test_a_version_is_ready_if_a_pod_says_so(pod: Pod, upstream: Upstream) -> None:
    """The question names model and version."""
    pod.ready = {("price", "2")}
    assert await upstream.model_ready("price", 2) is True
    assert await upstream.model_ready("price", 1) is False
    assert await upstream.model_ready("spam", 2) is False


async def test_a_probe_that_fails_means_not_ready(pod: Pod, upstream: Upstream) -> None:
    """A pod's error and a pod that is not there are no reason to raise: the next probe may find one."""
    pod.instead = refuse(grpc.StatusCode.INTERNAL, "a defect", "model-failed")
    assert await upstream.model_ready("price", 1) is False
    async with connected(await closed_port()) as nowhere:
        assert await nowhere.model_ready("price", 1) is False


async def test_a_probe_has_a_deadline(pod: Pod, upstream: Upstream) -> None:
    """A pod that hangs does not hold the catalog up."""
    await upstream.model_ready("price", 1)
    (seconds,) = pod.seconds
    assert seconds is not None and seconds < 60


async def test_messages_are_counted_by_status(pod: Pod, upstream: Upstream) -> None:
    """One message is one count, under the name of its gRPC status."""

    send = upstream.sender("price", 1, MANIFEST)
    answered, missed = calls("OK"), calls("NOT_FOUND")
    await send([rows(1), rows(2)], later())
    assert (calls("OK"), calls("NOT_FOUND")) == (answered + 1, missed)
    pod.instead = refuse(grpc.StatusCode.NOT_FOUND, "unknown", "unknown-version")
    with pytest.raises(PenstockError):
        await send([rows(1)], later())
    assert (calls("OK"), calls("NOT_FOUND")) == (answered + 1, missed + 1)


async def test_a_connection_is_made_before_the_first_request(upstream: Upstream) -> None:
    """Readiness asks whether there is a connection, which starts one; with nobody there, there is none."""
    assert not upstream.connected()
    async with asyncio.timeout(10):
        while not upstream.connected():
            await asyncio.sleep(0.001)
