"""``ModelStreamInfer`` of a model that streams: a real gRPC server and a real process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import grpc
import pytest
from prometheus_client import REGISTRY

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.registry_models import Version
from penstock_inference import stream_call
from penstock_inference.engine.streams import StreamEngine
from penstock_inference.metrics import REQUESTS, VersionMetrics
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import ModelProcess
from penstock_inference.runners.wire import BEHIND_CHUNKS
from penstock_inference.servicer import Servicer
from tests.unit.inference.streaming import streaming_manifest, write_model

Stub = inference_pb2_grpc.GRPCInferenceServiceStub
BY_STATUS = [("triton_grpc_error", "true")]


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ModelProcess]:
    """A process of the streaming model; four streams may be open."""
    forker = Forker(run_seconds=30, load_seconds=60)
    write_model(tmp_path)
    yield await forker.start(streaming_manifest(), tmp_path, threads=1, memory_bytes=2**29)
    await forker.close()


class Pod(NamedTuple):
    servicer: Servicer
    stub: Stub


@pytest.fixture
def stub(pod: Pod) -> Stub:
    """A client of the pod."""
    return pod.stub


@pytest.fixture
async def pod(process: ModelProcess) -> AsyncIterator[Pod]:
    """A pod that serves one version, ``s`` 1."""
    metrics = VersionMetrics("s", 1)
    manifest = streaming_manifest()
    engine = StreamEngine(manifest, max_queue_rows=64, max_queue_bytes=10_000, grace_seconds=30, metrics=metrics)
    engine.run_on(process)
    hosted = SimpleNamespace(version=Version("s", 1, manifest, [], "now"), engine=engine, metrics=metrics)

    async def find(name: str, version: str) -> Any:
        if name != "s":
            raise PenstockError(404, "unknown-model", f"This pool does not serve a model {name!r}.")
        return hosted

    server = grpc.aio.server()
    servicer = Servicer(SimpleNamespace(), SimpleNamespace(find=find))  # type: ignore[arg-type]
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Pod(servicer, Stub(channel))
    await server.stop(None)
    metrics.remove()


def request(
    what: str, n: int = 1, *, model: str = "s", empty_end: bool = False, **members: Any
) -> pb.ModelInferRequest:
    """A request with typed contents."""
    asked = pb.ModelInferRequest(model_name=model, **members)
    asked.inputs.add(name="what", datatype="BYTES", shape=[1]).contents.bytes_contents.append(what.encode())
    asked.inputs.add(name="n", datatype="INT64", shape=[1]).contents.int64_contents.append(n)
    if empty_end:
        asked.parameters["triton_enable_empty_final_response"].bool_param = True
    return asked


def y(answer: pb.ModelStreamInferResponse) -> int:
    """The number of a chunk."""
    assert answer.error_message == ""
    return int(answer.infer_response.outputs[0].contents.int64_contents[0])


async def state(stub: Stub) -> tuple[int, int]:
    """How many streams have ended in the model so far, and how many chunks it has made."""
    outputs = (await stub.ModelInfer(request("state"))).outputs
    return int(outputs[0].contents.int64_contents[0]), int(outputs[1].contents.fp32_contents[0])


async def no_stream_open() -> None:
    async with asyncio.timeout(10):
        while REGISTRY.get_sample_value("penstock_inference_streams_open", {"model": "s", "version": "1"}):
            await asyncio.sleep(0.01)


async def test_chunks_come_while_the_model_works(stub: Stub, tmp_path: Path) -> None:
    """Each carries the id of its request; that the stream ends is said alone, to those who ask for it."""
    call = stub.ModelStreamInfer(iter([request("gated", 2, id="a", empty_end=True)]))
    first = await call.read()
    assert (y(first), first.infer_response.id, first.infer_response.model_version) == (0, "a", "1")
    assert not first.infer_response.parameters["triton_final_response"].bool_param
    (tmp_path / "gate-1").touch()
    assert y(await call.read()) == 1
    end = (await call.read()).infer_response
    assert (end.id, len(end.outputs), end.parameters["triton_final_response"].bool_param) == ("a", 0, True)
    assert await call.read() is grpc.aio.EOF


async def test_an_end_that_nobody_asks_for_is_not_sent(stub: Stub) -> None:
    """The call ends after the last chunk."""
    assert [y(answer) async for answer in stub.ModelStreamInfer(iter([request("count", 3)]))] == [0, 1, 2]


async def test_messages_of_a_call_are_answered_together(stub: Stub) -> None:
    """The second is answered though the first has no end."""
    call = stub.ModelStreamInfer(iter([request("endless", id="a"), request("count", 3, id="b")]))
    read: dict[str, list[int]] = {"a": [], "b": []}
    async with asyncio.timeout(30):
        while read["b"] != [0, 1, 2]:
            answer = await call.read()
            read[answer.infer_response.id].append(y(answer))
    assert len(read["a"]) > 0
    call.cancel()


async def test_an_error_ends_its_own_message(stub: Stub) -> None:
    """The others of the call are answered; the text of the model's exception is not sent."""
    asked = [request("fail", 1, id="a"), request("count", 2, id="b"), request("count", model="x", id="c")]
    answers = [answer async for answer in stub.ModelStreamInfer(iter(asked))]
    errors = {answer.infer_response.id: answer.error_message for answer in answers if answer.error_message}
    assert errors == {"a": "Model 's' failed on this input.", "c": "This pool does not serve a model 'x'."}
    assert sorted(answer.infer_response.id for answer in answers if not answer.error_message) == ["a", "b", "b"]


async def test_an_error_may_end_the_call_instead(stub: Stub) -> None:
    """With the status and the code that ``ModelInfer`` gives, if the call asks for that."""
    call = stub.ModelStreamInfer(iter([request("fail", 1)]), metadata=BY_STATUS)
    assert y(await call.read()) == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    trailing: Any = caught.value.trailing_metadata()
    assert (caught.value.code(), dict(tuple(trailing))["penstock-code"]) == (grpc.StatusCode.INTERNAL, "model-failed")


async def test_a_process_that_ends_before_the_first_chunk_sends_envoy_to_another_pod(stub: Stub) -> None:
    """The call ends with trailing metadata alone, so that nothing of it has been passed on."""
    call = stub.ModelStreamInfer(iter([request("crash", 0)]), metadata=BY_STATUS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert ("penstock-retry", "another-pod") in tuple(caught.value.trailing_metadata() or ())
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_leaves_ends_the_stream_in_the_model(stub: Stub) -> None:
    """The model's generator is closed and the message is counted as cancelled."""
    cancelled = REQUESTS.labels("s", "1", "CANCELLED")._value.get()
    call = stub.ModelStreamInfer(iter([request("endless")]))
    await call.read()
    ended, _ = await state(stub)
    call.cancel()
    await no_stream_open()
    assert (await state(stub))[0] == ended + 2  # this one, and the one that asked before
    assert REQUESTS.labels("s", "1", "CANCELLED")._value.get() == cancelled + 1


async def test_a_client_that_leaves_without_reading_ends_the_stream(stub: Stub) -> None:
    """Though the pod is in the middle of sending what it does not read."""
    call = stub.ModelStreamInfer(iter([request("endless_large", 500_000)]))
    await call.read()
    await stopped(stub)
    call.cancel()
    await no_stream_open()


async def stopped(stub: Stub) -> int:
    """The number of chunks that the model has made, once it makes no more."""
    async with asyncio.timeout(30):
        steps = -1
        while steps != (steps := (await state(stub))[1]):
            await asyncio.sleep(0.3)
    return steps


async def test_a_slow_reader_stops_the_model(stub: Stub) -> None:
    """What is not read fills the buffers on the way, of a few megabytes, and then the model waits."""
    call = stub.ModelStreamInfer(iter([request("endless_large", 500_000)]))
    first = y(await call.read())
    steps = await stopped(stub)
    assert steps < first + BEHIND_CHUNKS + 10
    for expected in range(1, 30):
        assert y(await call.read()) == first + expected
    call.cancel()
    await no_stream_open()


async def test_a_stream_without_a_deadline_ends_too(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the pod's own time, with an error after the chunks that came."""
    monkeypatch.setattr(stream_call, "DEFAULT_STREAM_SECONDS", 0.3)
    answers = [answer async for answer in stub.ModelStreamInfer(iter([request("gated", 2)]))]
    assert y(answers[0]) == 0
    assert [answer.error_message for answer in answers[1:]] == ["The model did not answer in time."]


async def test_a_call_for_one_answer_gets_a_stream_of_one(stub: Stub) -> None:
    """ModelInfer is for streams of exactly one chunk; of others it names the call to use."""
    assert (await stub.ModelInfer(request("count", 1))).outputs[0].contents.int64_contents == [0]
    with pytest.raises(grpc.aio.AioRpcError, match="ModelStreamInfer") as caught:
        await stub.ModelInfer(request("endless"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await no_stream_open()


async def test_a_leaving_pod_answers_what_it_has(pod: Pod, tmp_path: Path) -> None:
    """A stream whose messages have all come ends as always. One that its client keeps open ends once they are answered."""
    idle = pod.stub.ModelStreamInfer()
    await idle.write(request("count", 1))
    assert y(await idle.read()) == 0
    whole = pod.stub.ModelStreamInfer(iter([request("count", 50)]))
    assert y(await whole.read()) == 0
    kept_open = pod.stub.ModelStreamInfer()
    await kept_open.write(request("gated", 2))
    assert y(await kept_open.read()) == 0
    pod.servicer.take_no_more()
    assert await idle.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "open another stream" in await idle.details()
    (tmp_path / "gate-1").touch()
    assert y(await kept_open.read()) == 1
    assert await kept_open.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [y(await whole.read()) for _ in range(49)] == [*range(1, 50)]
    assert await whole.code() is grpc.StatusCode.OK


async def test_a_leaving_pod_begins_no_stream(pod: Pod) -> None:
    """Envoy asks another pod."""
    pod.servicer.take_no_more()
    call = pod.stub.ModelStreamInfer(iter([request("count", 1)]))
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("penstock-retry", "another-pod") in [*await call.trailing_metadata(), *await call.initial_metadata()]
