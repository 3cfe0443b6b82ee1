"""Triton's and KServe's own HTTP clients against the gateway: all that they offer works, or says what does instead."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.installation import ROOT, Installation

SPAM = b"WINNER!! Claim your free prize now"
HAM = b"See you at lunch tomorrow?"
SEVEN = (ROOT / "examples" / "seven.png").read_bytes()
OUTPUT = "probabilities"

#: Triton's interface that has no meaning here: the call, and a word of what the error says does the job instead.
ABSENT: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "statistics": ("get_inference_statistics", (), "Prometheus"),
    "statistics of a model": ("get_inference_statistics", ("spam",), "Prometheus"),
    "statistics of a version": ("get_inference_statistics", ("spam", "1"), "Prometheus"),
    "load": ("load_model", ("spam",), "penstock promote"),
    "unload": ("unload_model", ("spam",), "penstock promote"),
    "trace settings": ("get_trace_settings", (), "OTLP"),
    "trace settings of a model": ("get_trace_settings", ("spam",), "OTLP"),
    "change trace settings": ("update_trace_settings", (), "OTLP"),
    "change trace settings of a model": ("update_trace_settings", ("spam",), "OTLP"),
    "log settings": ("get_log_settings", (), "deployment"),
    "change log settings": ("update_log_settings", ({},), "deployment"),
    "shared memory": ("get_system_shared_memory_status", (), "binary data"),
    "a region": ("get_system_shared_memory_status", ("r",), "binary data"),
    "register a region": ("register_system_shared_memory", ("r", "/r", 8), "binary data"),
    "unregister a region": ("unregister_system_shared_memory", ("r",), "binary data"),
    "unregister all": ("unregister_system_shared_memory", (), "binary data"),
    "CUDA memory": ("get_cuda_shared_memory_status", (), "binary data"),
    "register CUDA memory": ("register_cuda_shared_memory", ("r", b"handle", 0, 8), "binary data"),
    "unregister CUDA memory": ("unregister_cuda_shared_memory", (), "binary data"),
}
#: What the tests below call.
PRESENT = {
    "is_server_live",
    "is_server_ready",
    "is_model_ready",
    "get_server_metadata",
    "get_model_metadata",
    "get_model_config",
    "get_model_repository_index",
    "infer",
    "async_infer",
    "generate_request_body",
    "parse_response_body",
    "close",
    # Of the client itself: they call no server.
    "register_plugin",
    "unregister_plugin",
    "plugin",
}


class Sync:
    """Triton's client, its coroutines' twin run on a loop, so that one test asks both."""

    def __init__(self, url: str, key: str) -> None:
        self.headers = {"API-Key": key}
        self._client = triton.InferenceServerClient(url)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._client, name)(*args, headers=dict(self.headers), **kwargs)

    def close(self) -> None:
        self._client.close()


class Aio(Sync):
    """The client of asyncio."""

    def __init__(self, url: str, key: str) -> None:
        self.headers = {"API-Key": key}
        self._runner = asyncio.Runner()
        self._client = self._runner.run(self._open(url))

    async def _open(self, url: str) -> triton_aio.InferenceServerClient:
        return triton_aio.InferenceServerClient(url)

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._runner.run(getattr(self._client, name)(*args, headers=dict(self.headers), **kwargs))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=[Sync, Aio], ids=["sync", "aio"])
def client(request: pytest.FixtureRequest, installation: Installation, unlimited_key: str) -> Any:
    opened = request.param(installation.url.removeprefix("http://"), unlimited_key)
    yield opened
    opened.close()


def text(*rows: bytes, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("text", [len(rows)], "BYTES")
    tensor.set_data_from_numpy(np.array(rows, dtype=np.object_), binary_data=binary)
    return tensor


def test_the_whole_surface_is_tested() -> None:
    """Every public method of both clients is called by a test here."""
    known = PRESENT | {name for name, _, _ in ABSENT.values()}
    for cls in (triton.InferenceServerClient, triton_aio.InferenceServerClient):
        methods = {name for name, _ in inspect.getmembers(cls, callable) if not name.startswith("_")}
        assert methods <= known


def test_health(client: Sync) -> None:
    """Server and models are live and ready; a model that does not exist is not."""
    assert client("is_server_live")
    assert client("is_server_ready")
    assert client("is_model_ready", "spam")
    assert client("is_model_ready", "spam", "1")
    assert not client("is_model_ready", "nosuch")
    assert not client("is_model_ready", "spam", "99")


def test_health_is_worded_as_the_protocol_does(installation: Installation) -> None:
    """Live and ready are members of the answer."""
    assert httpx.get(f"{installation.url}/v2/health/live").json()["live"] is True
    assert httpx.get(f"{installation.url}/v2/health/ready").json()["ready"] is True


def test_metadata(client: Sync) -> None:
    """Server, model and index say what can be asked; the versions are those that get traffic."""
    server = client("get_server_metadata")
    assert server["name"] == "penstock"
    assert {"binary_tensor_data", "classification", "model_configuration"} <= set(server["extensions"])
    for version in ("", "1"):
        metadata = client("get_model_metadata", "spam", version)
        assert metadata["versions"] == ["1"]
        assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        assert metadata["outputs"] == [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 2]}]
    index = client("get_model_repository_index")
    assert {entry["name"] for entry in index} == {"spam", "digits", "price"}


def test_configuration(client: Sync) -> None:
    """The model configuration has Triton's types, dimensions without rows, and the largest batch."""
    config = client("get_model_config", "spam")
    assert config["name"] == "spam"
    assert config["max_batch_size"] > 1
    tensor = {"name": "text", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}, "optional": False}
    assert config["input"] == [tensor]
    assert config["output"] == [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [2]}]
    assert client("get_model_config", "spam", "1") == config


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_inference(client: Sync, binary: bool, encoding: str | None) -> None:
    """Binary tensors and JSON, plain and compressed in both directions, are answered alike."""
    rows = [SPAM, HAM] * 200  # enough that compressing the answer is worth it
    wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=binary)]
    result = client(
        "infer",
        "spam",
        [text(*rows, binary=binary)],
        outputs=wanted,
        request_id="r1",
        request_compression_algorithm=encoding,
        response_compression_algorithm=encoding,
    )
    assert result.as_numpy(OUTPUT).argmax(axis=1).tolist() == [1, 0] * 200
    assert (result.get_response()["id"], result.get_response()["model_version"]) == ("r1", "1")
    assert result.get_output(OUTPUT)["shape"] == [400, 2]


def test_inference_without_outputs_named(client: Sync) -> None:
    """All outputs come as binary data, which the client asks for by itself."""
    result = client("infer", "spam", [text(SPAM)], model_version="1")
    assert result.as_numpy(OUTPUT).argmax(axis=1).tolist() == [1]


def test_parameters_that_ask_for_nothing(client: Sync) -> None:
    """Priority 0, no sequence and a long timeout change nothing."""
    result = client("infer", "spam", [text(SPAM)], priority=0, sequence_id=0, timeout=5_000_000)
    assert result.as_numpy(OUTPUT).shape == (1, 2)


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client: Sync, binary: bool) -> None:
    """The likeliest classes come as value, index and label."""
    wanted = [triton.InferRequestedOutput(OUTPUT, binary_data=binary, class_count=1)]
    result = client("infer", "spam", [text(SPAM, HAM)], outputs=wanted)
    texts = [t.decode() if isinstance(t, bytes) else t for t in result.as_numpy(OUTPUT).ravel()]
    assert [t.split(":")[1:] for t in texts] == [["1", "spam"], ["0", "ham"]]
    assert all(0.5 < float(t.split(":")[0]) <= 1 for t in texts)


def test_an_image_is_binary_data(client: Sync) -> None:
    """The file's own bytes are the tensor's element; base64 is told how to travel."""
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([SEVEN], dtype=np.object_))
    result = client("infer", "digits", [tensor])
    assert result.as_numpy(OUTPUT).argmax(axis=1).tolist() == [7]
    tensor.set_data_from_numpy(np.array([b"iVBORw0KGgo="], dtype=np.object_), binary_data=False)
    with pytest.raises(InferenceServerException, match="binary_data_size") as caught:
        client("infer", "digits", [tensor])
    assert caught.value.status() == "415"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ({"model_name": "nosuch"}, "404", "no model 'nosuch'"),
        ({"model_version": "99"}, "404", "no version '99'"),
        ({"sequence_id": 7, "sequence_start": True}, "400", "sequence_id"),
        ({"priority": 3}, "400", "priority"),
        ({"parameters": {"temperature": 0.5}}, "400", "temperature"),
        ({"outputs": [triton.InferRequestedOutput("nosuch")]}, "400", "it has probabilities"),
        ({"timeout": 1}, "504", "time"),
        ({"inputs": [triton.InferInput("words", [1], "BYTES").set_data_from_numpy(np.array([b"x"]))]}, "422", "words"),
    ],
    ids=["model", "version", "sequence", "priority", "parameter", "output", "timeout", "input"],
)
def test_errors_are_read_by_the_client(client: Sync, arguments: dict[str, Any], status: str, says: str) -> None:
    """The client's exception has the status and the sentence that says what to do."""
    call = {"model_name": "spam", "inputs": [text(SPAM)]} | arguments
    with pytest.raises(InferenceServerException) as caught:
        client("infer", call.pop("model_name"), call.pop("inputs"), **call)
    assert caught.value.status() == status
    assert says in caught.value.message()
    assert "exception occurred in the client" not in caught.value.message()


@pytest.mark.parametrize(("key", "says"), [("psk_0123456789ab_wrong", "key"), ("", "API-Key")])
def test_refusals_at_the_door_are_read_by_the_client(client: Sync, key: str, says: str) -> None:
    """What is refused before the protocol has the request has the protocol's error member too."""
    client.headers = {"API-Key": key} if key else {"X-Nothing": "x"}
    with pytest.raises(InferenceServerException, match=says) as caught:
        client("infer", "spam", [text(SPAM)])
    assert caught.value.status() == "401"
    assert "exception occurred" not in caught.value.message()


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_absent_says_so(client: Sync, name: str) -> None:
    """Calls without a meaning here are 404 and name what does the job."""
    method, arguments, says = ABSENT[name]
    with pytest.raises(InferenceServerException, match=says) as caught:
        client(method, *arguments)
    assert caught.value.status() == "404"


def test_an_unknown_path_has_the_protocols_error_too(installation: Installation) -> None:
    """Also what no route takes."""
    for method, path, status in (("GET", "/v2/nosuch", 404), ("GET", "/v2/models/spam/infer", 405)):
        answer = httpx.request(method, installation.url + path)
        assert (answer.status_code, answer.json()["error"]) == (status, answer.json()["detail"])


def test_asynchronous_inference(installation: Installation, unlimited_key: str) -> None:
    """Calls under way at the same time are each answered."""
    headers = {"API-Key": unlimited_key}
    with triton.InferenceServerClient(installation.url.removeprefix("http://"), concurrency=4) as c:
        calls = [c.async_infer("spam", [text(row)], headers=dict(headers)) for row in [SPAM, HAM] * 4]
        classes = [int(call.get_result().as_numpy(OUTPUT).argmax()) for call in calls]
    assert classes == [1, 0] * 4


def test_bodies_made_by_the_client(installation: Installation, unlimited_key: str) -> None:
    """A body that the client makes, sent by another, is answered with one that the client reads."""
    body, length = triton.InferenceServerClient.generate_request_body([text(SPAM)])
    headers = {"API-Key": unlimited_key, "Inference-Header-Content-Length": str(length)}
    answer = httpx.post(f"{installation.url}/v2/models/spam/infer", content=body, headers=headers)
    header_length = int(answer.headers["inference-header-content-length"])
    result = triton.InferenceServerClient.parse_response_body(answer.content, header_length=header_length)
    assert result.as_numpy(OUTPUT).argmax() == 1


def test_an_answer_is_compressed_if_that_is_worth_it(installation: Installation, unlimited_key: str) -> None:
    """A large JSON answer is, a small one is not, and none that was not asked for."""
    headers = {"API-Key": unlimited_key}
    url = f"{installation.url}/v1/models/spam/predict"
    for rows, accepted, encoding in ((400, "gzip", "gzip"), (1, "gzip", None), (400, "identity", None)):
        answer = httpx.post(url, json=[{"text": SPAM.decode()}] * rows, headers=headers | {"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == encoding
        assert len(answer.json()) == rows


def test_another_content_encoding_is_415(installation: Installation, unlimited_key: str) -> None:
    """The refusal names those that are read."""
    headers = {"API-Key": unlimited_key, "Content-Encoding": "br"}
    answer = httpx.post(f"{installation.url}/v2/models/spam/infer", content=b"x", headers=headers)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate")


KSERVE = """
import asyncio, json, sys
url, key = sys.argv[1:3]
sys.argv[1:] = []  # importing kserve parses it
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    headers = {"API-Key": key}
    assert await client.is_server_live(url) is True
    assert await client.is_server_ready(url) is True
    assert await client.is_model_ready(url, "spam", headers=headers)
    assert not await client.is_model_ready(url, "nosuch", headers=headers)
    answers = []
    for binary_in in (False, True):
        for binary_out in (False, True):
            tensor = InferInput("text", [2], "BYTES")
            rows = np.array([b"WINNER!! Claim your free prize now", b"See you at lunch tomorrow?"], dtype=object)
            tensor.set_data_from_numpy(rows, binary_data=binary_in)
            wanted = [RequestedOutput("probabilities", {"binary_data": binary_out})]
            request = InferRequest("spam", [tensor], request_id="r1", request_outputs=wanted)
            answer = await client.infer(url, request, "spam", headers=dict(headers))
            assert (answer.id, answer.model_name) == ("r1", "spam"), answer
            answers.append(answer.outputs[0].as_numpy().argmax(axis=1).tolist())
    print(json.dumps(answers))
    await client.close()

asyncio.run(main())
"""


def test_kserves_client(installation: Installation, unlimited_key: str) -> None:
    """KServe's client reads health, and infers with JSON and binary tensors in both directions.

    In a process of its own: importing it parses the command line.
    """
    command = [sys.executable, "-c", KSERVE, installation.url, unlimited_key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [[1, 0]] * 4
