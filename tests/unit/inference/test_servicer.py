"""The gRPC edge: deadlines, answers in the form of the request, streams, errors and their count."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.registry_models import Version
from penstock_common.tensors import input_arrays
from penstock_common.version import VERSION
from penstock_inference import servicer as edge
from penstock_inference import stream_call
from penstock_inference.engine.engine import Engine
from penstock_inference.engine.message import Message, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.metrics import REQUESTS, VersionMetrics
from tests.unit.inference.fake_runner import FakeRunner
from tests.unit.inference.in_process import InProcess

REQUEST = pb.ModelInferRequest(
    model_name="m",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])],
    raw_input_contents=[np.float32(1).tobytes()],
)

Stub = inference_pb2_grpc.GRPCInferenceServiceStub


class Echo(FakeRunner):
    """A model that gives back its input once its gate is open; it fails on a negative value."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.entered.set()
        assert self.gate.wait(10)
        if (batch[0] < 0).any():
            raise ValueError("secret of the model")
        return batch


@pytest.fixture
def model() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.gate.set()


@pytest.fixture
def gate(model: Echo) -> threading.Event:
    """The model runs once this is set."""
    return model.gate


@pytest.fixture
async def servicer(regression: Manifest, model: Echo) -> edge.Servicer:
    """The edge of a pod that serves one version, ``m`` 1."""
    metrics = VersionMetrics("m", 1)
    engine = Engine(regression, max_queue_rows=64, max_queue_bytes=1000, metrics=metrics)
    engine.run_on(InProcess(regression, model))
    hosted = SimpleNamespace(version=Version("m", 1, regression, [], "now"), engine=engine, metrics=metrics)

    async def find(name: str, version: str) -> Any:
        if name == "loading":
            raise PodRefusalError(429, "model-loading", "Version 1 of 'loading' is still being loaded on this pod.")
        if name != "m":
            raise PenstockError(404, "unknown-model", f"This pool does not serve a model {name!r}.")
        return hosted

    return edge.Servicer(SimpleNamespace(), SimpleNamespace(find=find))  # type: ignore[arg-type]


@pytest.fixture
async def stub(servicer: edge.Servicer, model: Echo) -> AsyncIterator[Stub]:
    """A client of that pod."""
    server = grpc.aio.server()
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Stub(channel)
    model.gate.set()
    await server.stop(None)


def request(value: float = 1, model: str = "m", **members: Any) -> pb.ModelInferRequest:
    """A request with typed contents."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(value)
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], **members)


def rows(values: list[float]) -> pb.ModelInferRequest:
    """A request of several rows."""
    several = request()
    several.inputs[0].shape[0] = len(values)
    several.inputs[0].contents.fp32_contents[:] = values
    return several


def counted(code: str, model: str = "m", version: str = "1") -> float:
    value: float = REQUESTS.labels(model, version, code)._value.get()
    return value


async def waiting(rows: int) -> None:
    """Return when so many rows wait in the pod."""
    async with asyncio.timeout(10):
        while REGISTRY.get_sample_value("penstock_inference_queue_rows", {"model": "m", "version": "1"}) != rows:
            await asyncio.sleep(0.01)


def late() -> float:
    return counted("DEADLINE_EXCEEDED")


def code_of(err: grpc.aio.AioRpcError) -> str:
    """Penstock's own code of an error."""
    trailing: Any = err.trailing_metadata()
    return str(dict(tuple(trailing))["penstock-code"])


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
    """The pod answers DEADLINE_EXCEEDED itself after its own time."""
    monkeypatch.setattr(edge, "DEFAULT_SECONDS", 0.2)
    before = late()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(REQUEST)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert code_of(caught.value) == "deadline-exceeded"
    assert late() == before + 1


async def test_a_call_without_a_deadline_is_answered(stub: Stub, gate: threading.Event) -> None:
    """Raw contents are answered with raw contents, and the version is named."""
    gate.set()
    before = counted("OK")
    answer = await stub.ModelInfer(REQUEST)
    assert (answer.model_version, answer.raw_output_contents) == ("1", [np.float32(1).tobytes()])
    assert counted("OK") == before + 1


async def test_typed_contents_are_answered_with_typed_contents(stub: Stub, gate: threading.Event) -> None:
    """The request's id comes back too."""
    gate.set()
    answer = await stub.ModelInfer(request(3, id="a"))
    assert (answer.id, list(answer.outputs[0].contents.fp32_contents)) == ("a", [3.0])
    assert not answer.raw_output_contents


async def test_a_refused_message_is_kept_by_nothing(
    stub: Stub, model: Echo, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was refused for, its inputs are freed without the garbage collector, which comes rarely."""
    inputs: list[weakref.ref[NDArray[Any]]] = []

    def watched(message: pb.ModelInferRequest) -> dict[str, NDArray[Any]]:
        arrays = input_arrays(message)
        inputs.extend(weakref.ref(array) for array in arrays.values())
        return arrays

    monkeypatch.setattr(edge, "input_arrays", watched)
    unknown_output = request(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="z")])
    mistyped = request()
    mistyped.inputs[0].datatype = "INT32"
    mistyped.inputs[0].contents.int_contents.append(1)
    structlog.configure(processors=[structlog.processors.JSONRenderer()])  # the default shows, and keeps, locals
    gc.collect()
    gc.disable()
    try:
        gate.set()
        for refused in (request(-1), rows([1, -1, 1]), unknown_output, mistyped):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ModelInfer(refused)
        gate.clear()
        model.entered.clear()
        together = [stub.ModelInfer(request(0))]
        assert await asyncio.to_thread(model.entered.wait, 5)
        together += [stub.ModelInfer(request(n)) for n in (1, -1, 2)]
        await waiting(3)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ModelInfer(request(), timeout=0.2)
        gate.set()
        await asyncio.gather(*together, return_exceptions=True)
        async with asyncio.timeout(10):
            while any(array() is not None for array in inputs):
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
        structlog.reset_defaults()
    assert len(inputs) == 9


async def test_an_output_that_the_model_lacks_is_refused(stub: Stub, gate: threading.Event) -> None:
    """INVALID_ARGUMENT ``unknown-output`` names it."""
    gate.set()
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="z")
    with pytest.raises(grpc.aio.AioRpcError, match="no output 'z'") as caught:
        await stub.ModelInfer(request(outputs=[wanted]))
    assert (caught.value.code(), code_of(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "unknown-output")


async def test_a_model_that_fails_tells_nothing_of_itself(stub: Stub, gate: threading.Event) -> None:
    """INTERNAL ``model-failed``, without the exception's text."""
    gate.set()
    before = counted("INTERNAL")
    with pytest.raises(grpc.aio.AioRpcError, match="Model 'm' failed on this input") as caught:
        await stub.ModelInfer(request(-1))
    assert (caught.value.code(), code_of(caught.value)) == (grpc.StatusCode.INTERNAL, "model-failed")
    assert "secret" not in str(caught.value.details())
    assert counted("INTERNAL") == before + 1


async def test_an_invented_name_adds_no_series(stub: Stub) -> None:
    """A request for a model that is not here is counted, without its name."""
    before = counted("NOT_FOUND", "", "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(request(model="invented"))
    assert (caught.value.code(), code_of(caught.value)) == (grpc.StatusCode.NOT_FOUND, "unknown-model")
    assert counted("NOT_FOUND", "", "") == before + 1
    assert not any("invented" in str(labels) for labels in REQUESTS._metrics)


async def test_the_principal_in_the_metadata_gives_a_message_its_turn(
    stub: Stub, model: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one principal has four batches in the queue, another's message is in the next one but one."""
    order: list[float] = []
    run = model.run

    def recorded(batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        order.extend(batch[0].tolist())
        return run(batch)

    monkeypatch.setattr(model, "run", recorded)
    calls = [stub.ModelInfer(request(0))]
    assert await asyncio.to_thread(model.entered.wait, 5)
    calls += [stub.ModelInfer(rows([1] * 4), metadata=[("penstock-principal", "flood")]) for _ in range(8)]
    await waiting(32)
    calls.append(stub.ModelInfer(request(2), metadata=[("penstock-principal", "small")]))
    await waiting(33)
    model.gate.set()
    await asyncio.gather(*calls)
    assert order.index(2) <= 1 + 4 * 5


async def test_a_message_that_another_pod_had_is_known_as_such(
    stub: Stub, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Envoy's count of its attempts."""
    gate.set()
    retried: list[bool] = []
    submit = Engine.submit

    def recorded(engine: Engine, message: Message) -> asyncio.Future[Outputs]:
        retried.append(message.retried)
        return submit(engine, message)

    monkeypatch.setattr(Engine, "submit", recorded)
    for metadata in ([], [("x-envoy-attempt-count", "1")], [("x-envoy-attempt-count", "2")]):
        await stub.ModelInfer(request(), metadata=metadata)
    assert retried == [False, False, True]


async def test_a_refusal_of_this_pod_sends_envoy_to_another(stub: Stub, gate: threading.Event) -> None:
    """It says so in the trailing metadata, as no other error does. Envoy does not eject a pod for its status."""
    gate.set()
    with pytest.raises(grpc.aio.AioRpcError, match="still being loaded") as caught:
        await stub.ModelInfer(request(model="loading"))
    assert (caught.value.code(), code_of(caught.value)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "model-loading")
    assert ("penstock-retry", "another-pod") in tuple(caught.value.trailing_metadata() or ())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(request(-1))
    assert "penstock-retry" not in dict(tuple(caught.value.trailing_metadata() or ()))


async def test_messages_of_a_stream_are_answered_in_turn(stub: Stub, gate: threading.Event) -> None:
    """An error is the answer to its own message only; the others of the stream are answered."""
    gate.set()
    before = counted("OK")
    call = stub.ModelStreamInfer(iter([request(1, id="a"), request(-1, id="b"), request(3, id="c")]))
    answers = [answer async for answer in call]
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "c"]
    assert [answer.error_message for answer in answers] == ["", "Model 'm' failed on this input.", ""]
    assert answers[0].infer_response.parameters["triton_final_response"].bool_param
    assert answers[2].infer_response.outputs[0].contents.fp32_contents == [3.0]
    assert counted("OK") == before + 2


async def test_a_message_of_a_stream_ends_too(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that the model does not answer in time is answered with an error, and counted as late."""
    monkeypatch.setattr(stream_call, "DEFAULT_SECONDS", 0.2)
    before = late()
    answers = [answer async for answer in stub.ModelStreamInfer(iter([request(id="a")]))]
    assert [(a.infer_response.id, a.error_message) for a in answers] == [("a", "The model did not answer in time.")]
    assert late() == before + 1


async def test_a_client_that_leaves_a_stream_withdraws_its_message(stub: Stub, model: Echo) -> None:
    """The pod counts the message as cancelled."""
    before = counted("CANCELLED")
    call = stub.ModelStreamInfer(iter([request()]))
    assert await asyncio.to_thread(model.entered.wait, 5)
    call.cancel()
    async with asyncio.timeout(10):
        while counted("CANCELLED") == before:
            await asyncio.sleep(0.01)


async def test_a_leaving_pod_answers_what_it_has(stub: Stub, servicer: edge.Servicer, model: Echo) -> None:
    """No error follows the answer to the last message of a call."""
    call = stub.ModelStreamInfer(iter([request(3)]))
    assert await asyncio.to_thread(model.entered.wait, 5)
    servicer.take_no_more()
    model.gate.set()
    assert [len(answer.infer_response.outputs) async for answer in call] == [1]


async def test_metadata(stub: Stub) -> None:
    """The server's name and version; the model's signature with the batch as the first dimension."""
    server = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (server.name, server.version) == ("penstock", VERSION)
    model = await stub.ModelMetadata(pb.ModelMetadataRequest(name="m"))
    assert (model.name, list(model.versions), model.platform) == ("m", ["1"], "penstock_onnx")
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("x", "FP32", [-1])]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelMetadata(pb.ModelMetadataRequest(name="other"))
    assert code_of(caught.value) == "unknown-model"
