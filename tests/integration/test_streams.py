"""Streams from clients to a model and back: a real gateway, a real Envoy, two real pods.

Triton's gRPC clients run in processes of their own, because their generated code and ours define the same messages.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from penstock_common.manifest import dump_manifest
from tests.installation import Installation, until
from tests.integration.load import part
from tests.unit.inference.streaming import streaming_manifest, write_model

EVENT = re.compile(r"^data: (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose pods may load Python, with the streaming model in production."""
    running = Installation(
        tmp_path_factory.mktemp("streams"),
        workers=2,
        environment={
            "PENSTOCK_INFERENCE_ALLOW_CODE": "true",
            "PENSTOCK_INFERENCE_RETAIN_SECONDS": "0",
            "PENSTOCK_INFERENCE_HANG_SECONDS": "60",  # a gate that is closed holds up a step
        },
    )
    artifact = tmp_path_factory.mktemp("artifact")
    write_model(artifact)
    (artifact / "model.yaml").write_text(dump_manifest(streaming_manifest()))
    try:
        running.up()
        running.penstock("push", "streamer", str(artifact))
        running.penstock("promote", "streamer", "1")
        yield running
    finally:
        running.down()


@pytest.fixture(scope="module")
def key(installation: Installation) -> str:
    return installation.unlimited_key()


@pytest.fixture
def client(installation: Installation, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=installation.url, headers={"API-Key": key}, timeout=60) as client:
        yield client


@pytest.fixture
def gates(installation: Installation) -> Iterator[list[Path]]:
    """The folders of the model's files on the pods, in which it looks for files before it goes on."""
    folders = [path.parent for path in installation.home.rglob("model.py") if "blobs" not in path.parts]
    assert folders
    yield folders
    for folder in folders:
        for gate in folder.glob("gate-*"):
            gate.unlink()


def open_gate(folders: list[Path], number: int) -> None:
    for folder in folders:
        (folder / f"gate-{number}").touch()


@contextmanager
def streaming(client: httpx.Client, what: str, n: int = 1, **headers: str) -> Iterator[httpx.Response]:
    """The answer to a row, begun and not read."""
    body = {"what": what, "n": n}
    with client.stream("POST", "/v1/models/streamer/stream", json=body, headers=headers) as answer:
        yield answer


def numbers(events: list[str]) -> list[Any]:
    """What the chunks of events say."""
    return [json.loads(event)["outputs"]["y"] if event != "[DONE]" else event for event in events]


def streams_open(installation: Installation) -> float:
    """The streams that are open in all pods."""
    return sum(streams_open_in(installation, worker) for worker in range(installation.workers))


def streams_open_in(installation: Installation, worker: int) -> float:
    port = int(installation.environment["PENSTOCK_WORKER_METRICS_PORT"]) + worker
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return sum(map(float, re.findall(r'^penstock_inference_streams_open{.*"streamer".*} (.*)$', text, re.MULTILINE)))


def test_events_come_while_the_model_works(client: httpx.Client, gates: list[Path]) -> None:
    """Each chunk is an event in the form of predict's answer; the last event says that all came."""
    with streaming(client, "gated", 3) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-model-version"] == "1"
        lines = answer.iter_lines()
        first = next(line for line in lines if line)
        chunk = {"outputs": {"y": 0, "data": [0.0]}, "model": "streamer", "version": "1"}
        assert json.loads(first.removeprefix("data: ")) == chunk
        open_gate(gates, 1)
        assert '"y":1' in next(line for line in lines if line)
        open_gate(gates, 2)
        rest = "\n".join(lines)
    assert numbers(EVENT.findall(rest)) == [2, "[DONE]"]


def test_curl_shows_events_as_they_come(installation: Installation, key: str, gates: list[Path]) -> None:
    """``curl -N`` without any other option."""
    url = f"{installation.url}/v1/models/streamer/stream"
    command = ["curl", "-sN", url, "-H", f"API-Key: {key}", "-d", '{"what": "gated", "n": 2}']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        assert '"y":0' in curl.stdout.readline()
        open_gate(gates, 1)
        assert numbers(EVENT.findall(curl.stdout.read())) == [1, "[DONE]"]


def test_a_client_that_leaves_ends_the_stream_in_the_pod(installation: Installation, client: httpx.Client) -> None:
    """Its place there is free again."""
    with streaming(client, "endless") as answer:
        lines = answer.iter_lines()  # a reader that is dropped closes the answer
        next(lines)
        assert streams_open(installation) == 1
    until(lambda: streams_open(installation) == 0, "the stream to end in the pod")


def test_a_slow_reader_stops_the_model(installation: Installation, client: httpx.Client, key: str) -> None:
    """What is on the way is bounded, though the model has no end; others are answered meanwhile."""
    body = b'{"what": "endless_large", "n": 250000}'
    head = (
        f"POST /v1/models/streamer/stream HTTP/1.1\r\nHost: x\r\nAPI-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    port = int(installation.environment["PENSTOCK_GATEWAY_PORT"])

    def steps() -> int:
        """The chunks that both pods have made, as far as the answers of either say."""
        answers = [client.post("/v1/models/streamer/predict", json={"what": "state", "n": 0}) for _ in range(6)]
        return max(int(answer.json()["outputs"]["data"][0]) for answer in answers)

    before = steps()
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(head.encode() + body)
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        seen = [-1]

        def stands_still() -> bool:
            seen.append(steps())
            return len(seen) > 20 and len(set(seen[-20:])) == 1

        until(stands_still, "the model to wait for the reader")
        assert seen[-1] - before < 64  # of 1 MB each, a third more as JSON: sockets, gateway, Envoy and pod hold them
        with streaming(client, "count", 3) as answer:
            answer.read()
        assert numbers(EVENT.findall(answer.text)) == [0, 1, 2, "[DONE]"]
    until(lambda: streams_open(installation) == 0, "the stream to end in the pod")


def test_an_error_after_the_first_event_is_an_event(client: httpx.Client) -> None:
    """It has the problem document, and no end follows."""
    with streaming(client, "fail", 2) as answer:
        answer.read()
    assert answer.status_code == 200
    *chunks, problem = EVENT.findall(answer.text)
    assert numbers(chunks) == [0, 1]
    assert json.loads(problem)["code"] == "upstream-error"
    assert "\nevent: error\n" in answer.text


def test_an_error_before_the_first_event_is_an_answer(client: httpx.Client) -> None:
    """With its own status, in the model and before it."""
    with streaming(client, "fail", 0) as answer:
        assert (answer.status_code, json.loads(answer.read())["code"]) == (500, "upstream-error")
    refused = client.post("/v1/models/streamer/stream", json=[{"what": "count", "n": 1}] * 2)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    refused = client.post("/v1/models/streamer/stream", json={"what": "count"})
    assert (refused.status_code, refused.json()["field"]) == (422, "n")


def test_the_time_of_a_stream_is_bounded(client: httpx.Client, installation: Installation) -> None:
    """The client's own bound ends it, also in the middle."""
    with streaming(client, "endless", **{"X-Request-Timeout": "0.5"}) as answer:
        answer.read()
    assert json.loads(EVENT.findall(answer.text)[-1])["code"] == "deadline-exceeded"
    until(lambda: streams_open(installation) == 0, "the stream to end in the pod")


def test_comments_keep_a_silent_stream_alive(installation: Installation, key: str, gates: list[Path]) -> None:
    """Before its first chunk too; the stream goes on behind them."""
    with (
        installation.another_gateway(PENSTOCK_GATEWAY_STREAM_KEEP_ALIVE_SECONDS="0.1") as gateway,
        httpx.Client(base_url=gateway.url, headers={"API-Key": key}, timeout=60) as client,
        streaming(client, "gated", 2) as answer,
    ):
        lines = (line for line in answer.iter_lines() if line)
        assert '"y":0' in next(lines)
        assert [next(lines), next(lines)] == [": keep-alive"] * 2
        open_gate(gates, 1)
        rest = EVENT.findall("\n".join(lines))
    assert numbers(rest) == [1, "[DONE]"]


def test_predict_is_for_streams_of_one_chunk(client: httpx.Client, installation: Installation) -> None:
    """For others it names the route that streams."""
    answer = client.post("/v1/models/streamer/predict", json={"what": "count", "n": 1})
    assert answer.json()["outputs"] == {"y": 0, "data": [0.0]}
    refused = client.post("/v1/models/streamer/predict", json={"what": "endless", "n": 1})
    assert (refused.status_code, refused.json()["code"]) == (422, "model-streams")
    assert "/stream" in refused.json()["detail"]
    until(lambda: streams_open(installation) == 0, "the stream to end in the pod")


def test_a_model_that_does_not_stream_answers_with_one_event(client: httpx.Client) -> None:
    """In the form of its predictions, also several rows."""
    answer = client.post("/v1/models/spam/stream", json=[{"text": "hello"}, {"text": "free prize"}])
    event, end = EVENT.findall(answer.text)
    assert (len(json.loads(event)), end) == (2, "[DONE]")


def test_tritons_generate_extension(client: httpx.Client) -> None:
    """The inputs of one row as an object, with parameters apart or not; an object for each chunk."""
    body = {"id": "a", "what": "count", "parameters": {"n": 2}}
    answer = client.post("/v2/models/streamer/generate_stream", json=body)
    names = {"model_name": "streamer", "model_version": "1"}
    assert [json.loads(event) for event in EVENT.findall(answer.text)] == [
        names | {"y": number, "data": [0.0]} for number in (0, 1)
    ]
    single = client.post("/v2/models/streamer/generate", json={"what": "count", "n": 1})
    assert single.json() == names | {"y": 0, "data": [0.0]}


TRITON = """
import queue, sys
import numpy as np
import tritonclient.grpc as triton
client = triton.InferenceServerClient(sys.argv[1])
answers = queue.Queue()

def inputs(what, n):
    tensors = [triton.InferInput("what", [1], "BYTES"), triton.InferInput("n", [1], "INT64")]
    tensors[0].set_data_from_numpy(np.array([what.encode()], dtype=object))
    tensors[1].set_data_from_numpy(np.array([n]))
    return tensors

def chunk(result):
    response = result.get_response()
    final = response.parameters["triton_final_response"].bool_param
    return response.id, None if not response.outputs else int(result.as_numpy("y")[0]), final

client.start_stream(lambda result, error: answers.put((result, error)))
client.async_stream_infer("streamer", inputs("count", 2), request_id="a", enable_empty_final_response=True)
found = [answers.get(timeout=30) for _ in range(3)]
assert [chunk(result) for result, _ in found] == [("a", 0, False), ("a", 1, False), ("a", None, True)], found
client.async_stream_infer("streamer", inputs("endless", 1), request_id="b")
client.async_stream_infer("streamer", inputs("fail", 1), request_id="c")
seen = set()
while len(seen) < 3:
    result, error = answers.get(timeout=30)
    seen.add("error" if error else chunk(result)[0])
assert seen == {"b", "c", "error"}, seen
client.stop_stream(cancel_requests=True)
try:
    client.infer("streamer", inputs("endless", 1))
except triton.InferenceServerException as err:
    assert "ModelStreamInfer" in err.message(), err
else:
    raise AssertionError("a stream was answered at once")
"""

TRITON_AIO = """
import asyncio, sys
import numpy as np
import tritonclient.grpc.aio as triton

async def main():
    async with triton.InferenceServerClient(sys.argv[1]) as client:
        tensors = [triton.InferInput("what", [1], "BYTES"), triton.InferInput("n", [1], "INT64")]
        tensors[0].set_data_from_numpy(np.array([b"count"], dtype=object))
        tensors[1].set_data_from_numpy(np.array([3]))

        async def requests():
            for name in "ab":
                yield {"model_name": "streamer", "inputs": tensors, "request_id": name}

        found = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            found.append((result.get_response().id, int(result.as_numpy("y")[0])))
        assert sorted(found) == [(name, number) for name in "ab" for number in range(3)], found

asyncio.run(main())
"""


@pytest.mark.parametrize("script", [TRITON, TRITON_AIO], ids=["sync", "aio"])
@pytest.mark.parametrize("through", ["envoy", "worker-1"])
def test_tritons_clients(installation: Installation, script: str, through: str) -> None:
    """Their streams, directly and through Envoy; what they cancel ends in the pod."""
    command = [sys.executable, "-c", script, f"unix:{installation.socket(through)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    until(lambda: streams_open(installation) == 0, "the streams to end in the pods")


def test_a_model_that_crashes_is_asked_on_another_pod_once_nothing_was_sent(client: httpx.Client) -> None:
    """On both pods, and then the request is refused; after the first chunk, the event says what happened."""
    with streaming(client, "crash", 1) as answer:
        answer.read()
    *chunks, problem = EVENT.findall(answer.text)
    assert (numbers(chunks), json.loads(problem)["status"]) == ([0], 500)

    def answers() -> bool:
        with streaming(client, "count", 1) as answer:
            answer.read()
        return answer.status_code == 200

    until(answers, "a pod to be back")
    with streaming(client, "crash", 0) as answer:
        answer.read()
    assert answer.status_code in (500, 503)
    until(answers, "a pod to be back")


@contextmanager
def gated_stream(client: httpx.Client) -> Iterator[Iterator[str]]:
    """The lines of a stream of three chunks, of which the first was read."""
    with streaming(client, "gated", 3) as answer:
        lines = answer.iter_lines()
        assert numbers(EVENT.findall(next(lines))) == [0]
        yield lines


def accepts(address: tuple[str, int] | str) -> bool:
    """Whether somebody listens on a port, or on the path of a unix socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_stream_outlives_the_signal_to_its_gateway(installation: Installation, key: str, gates: list[Path]) -> None:
    """After SIGTERM the gateway takes nothing new, and ends once its streams have ended: long after other requests have."""
    with (
        installation.another_gateway(
            PENSTOCK_GATEWAY_TIMEOUT_SECONDS="0.5", PENSTOCK_GATEWAY_STREAM_KEEP_ALIVE_SECONDS="0.1"
        ) as gateway,
        httpx.Client(base_url=gateway.url, headers={"API-Key": key}, timeout=60) as client,
        gated_stream(client) as lines,
    ):
        gateway.process.terminate()
        port = int(gateway.url.rpartition(":")[2])
        until(lambda: not accepts(("127.0.0.1", port)), "the gateway to close its listener")
        for _ in range(30):  # in which 3 s pass
            while next(lines) != ": keep-alive":
                pass
        assert gateway.process.poll() is None
        for number in (1, 2):
            open_gate(gates, number)
        assert numbers(EVENT.findall("\n".join(lines))) == [1, 2, "[DONE]"]
        until(lambda: gateway.process.poll() == 0, "the gateway to end")


def test_a_gateway_cuts_streams_that_do_not_end(installation: Installation, key: str) -> None:
    """Once their time is over, with an answer that is not whole."""
    with (
        installation.another_gateway(
            PENSTOCK_GATEWAY_STREAM_GRACE_SECONDS="0", PENSTOCK_GATEWAY_TIMEOUT_SECONDS="0.5"
        ) as gateway,
        httpx.Client(base_url=gateway.url, headers={"API-Key": key}, timeout=60) as client,
        streaming(client, "endless", 1) as answer,
    ):
        lines = answer.iter_lines()
        assert EVENT.findall(next(lines))
        gateway.process.terminate()
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in lines:
                pass
        until(lambda: gateway.process.poll() == 0, "the gateway to end")
    until(lambda: streams_open(installation) == 0, "the stream to end in the pod")


def test_a_stream_outlives_the_signal_to_its_pod(
    installation: Installation, client: httpx.Client, gates: list[Path]
) -> None:
    """After SIGTERM the pod closes its listener, lets the stream end, and ends."""
    with gated_stream(client) as lines:
        [worker] = [worker for worker in range(installation.workers) if streams_open_in(installation, worker)]
        pod = part(installation, f"worker-{worker + 1}")
        pod.terminate()
        until(lambda: not accepts(str(installation.socket(f"worker-{worker + 1}"))), "the pod to close its listener")
        assert not ended(pod)
        for number in (1, 2):
            open_gate(gates, number)
        assert numbers(EVENT.findall("\n".join(lines))) == [1, 2, "[DONE]"]
    until(lambda: ended(pod), "the pod to end")
    installation.up()  # both pods are ready again for the other tests


def test_a_stream_outlives_the_promotion_of_another_version(
    installation: Installation, client: httpx.Client, gates: list[Path], tmp_path: Path
) -> None:
    """The old version is unloaded once its stream has ended."""

    def versions() -> set[str]:
        series = re.compile(r'^penstock_inference_streams_open{.*version="(\d+)"} ', re.MULTILINE)
        first = int(installation.environment["PENSTOCK_WORKER_METRICS_PORT"])
        ports = range(first, first + installation.workers)
        return {found for port in ports for found in series.findall(httpx.get(f"http://127.0.0.1:{port}/metrics").text)}

    write_model(tmp_path)
    (tmp_path / "model.yaml").write_text(dump_manifest(streaming_manifest()))
    installation.penstock("push", "streamer", str(tmp_path))
    with gated_stream(client) as lines:
        installation.penstock("promote", "streamer", "2")
        assert versions() == {"1", "2"}
        for number in (1, 2):
            open_gate(gates, number)
        assert numbers(EVENT.findall("\n".join(lines))) == [1, 2, "[DONE]"]
    until(lambda: versions() == {"2"}, "the old version to go")
