"""The transport: deadlines, whoever sets them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.manifest import Manifest
from penstock_inference import servicer as transport
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.scheduler import Batcher
from penstock_inference.metrics import REQUESTS, gauges

REQUEST = pb.ModelInferRequest(
    model_name="m",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])],
    raw_input_contents=[np.float32(1).tobytes()],
)

Stub = inference_pb2_grpc.GRPCInferenceServiceStub


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The model runs once this is set."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def stub(regression: Manifest, gate: threading.Event) -> AsyncIterator[Stub]:
    """A client of a pod that serves one version, ``m`` 1."""

    def run(tensors: list[NDArray[Any]]) -> list[NDArray[Any]]:
        assert gate.wait(10)
        return tensors

    with ThreadPoolExecutor(1) as executor:
        model = LoadedModel(regression, run)
        batcher = Batcher(model, executor, max_queue_rows=8, gauges=gauges("m", 1))
        served = SimpleNamespace(version=SimpleNamespace(version=1, manifest=regression), model=model, batcher=batcher)

        async def find(name: str, version: str) -> Any:
            return served

        server = grpc.aio.server()
        servicer = transport.Servicer(SimpleNamespace(find=find))  # type: ignore[arg-type]
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Stub(channel)
        gate.set()
        await server.stop(None)


def late() -> float:
    value: float = REQUESTS.labels("m", "1", "DEADLINE_EXCEEDED")._value.get()
    return value


async def test_a_callers_deadline_ends_its_call(stub: Stub) -> None:
    """The caller is answered at its deadline, and the pod counts the call as late."""
    before = late()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(REQUEST, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(10):
        while late() == before:
            await asyncio.sleep(0.01)


async def test_a_call_without_a_deadline_ends_too(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod answers 504's status itself after its longest time."""
    monkeypatch.setattr(transport, "_LONGEST", 0.2)
    before = late()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(REQUEST)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    trailing: Any = caught.value.trailing_metadata()
    assert ("penstock-code", "deadline-exceeded") in tuple(trailing)
    assert late() == before + 1


async def test_a_call_without_a_deadline_is_answered(stub: Stub, gate: threading.Event) -> None:
    """The answer has the form of the question."""
    gate.set()
    answer = await stub.ModelInfer(REQUEST)
    assert (answer.model_version, answer.raw_output_contents) == ("1", [np.float32(1).tobytes()])
