"""A gateway keeps nothing of requests that it refused, nor of those whose client left."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grpc
import httpx
import pytest

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import AliasTarget, Model, Version
from tests.abuse.flat_memory import MB, FlatMemory
from tests.abuse.gateway import KEYS, Gateway, running_gateway
from tests.installation import free_ports, until

REFUSALS = 2_000
CANCELLED = 10_000
AT_ONCE = 250
#: Far below what is left if a body of each hundredth request, or a few kB of each request, are kept.
MOST_GROWTH = 4 * MB

BODY = 40_000
PREDICT = "/v1/models/patient/predict"


INFER = "/v2/models/patient/infer"


class Refusal(NamedTuple):
    status: int
    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"


JSON = {"Content-Type": "application/json", "API-Key": KEYS["attacker"]}
TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x" * (BODY - 1000)]}
ROWS = json.dumps([{"text": "x" * 20}] * 1025).encode()
REFUSED = {
    "not JSON": Refusal(400, PREDICT, b"{" * BODY, JSON),
    "no key": Refusal(401, PREDICT, b"x" * BODY, {"Content-Type": "application/json"}),
    "unknown model": Refusal(404, "/v1/models/none/predict", b"x" * BODY, JSON),
    "unknown path": Refusal(404, "/none", b"x" * BODY, JSON),
    "body too large": Refusal(413, PREDICT, b"x" * 2 * BODY, JSON),
    "media type": Refusal(415, PREDICT, b"x" * BODY, JSON | {"Content-Type": "text/plain"}),
    "field too long": Refusal(422, PREDICT, json.dumps({"text": "x" * BODY}).encode(), JSON),
    "rate": Refusal(429, PREDICT, b"x" * BODY, JSON | {"API-Key": KEYS["limited"]}),
    "model fails": Refusal(500, PREDICT, json.dumps({"text": "!" + "x" * (BODY - 100)}).encode(), JSON),
    "headers too large": Refusal(431, PREDICT, b"", JSON | {"X-Large": "x" * BODY}),
    "URL too long": Refusal(414, "/" + "x" * 9_000, b"", JSON),
    "no time": Refusal(504, PREDICT, json.dumps({"text": "x" * 1000}).encode(), JSON | {"X-Request-Timeout": "0.001"}),
    "bad time": Refusal(400, PREDICT, b"x" * BODY, JSON | {"X-Request-Timeout": "nan"}),
    "model not allowed": Refusal(403, PREDICT, b"x" * BODY, JSON | {"API-Key": KEYS["bound"]}),
    "method": Refusal(405, PREDICT, b"", JSON, "GET"),
    "version not served": Refusal(409, "/v1/models/patient/versions/2/predict", b"x" * BODY, JSON),
    "model not loaded": Refusal(503, "/v1/models/broken/predict", b"x" * BODY, JSON),
    "too many rows": Refusal(413, PREDICT, ROWS, JSON),
    "content encoding": Refusal(415, PREDICT, b"x" * BODY, JSON | {"Content-Encoding": "br"}),
    "not compressed": Refusal(400, PREDICT, b"x" * BODY, JSON | {"Content-Encoding": "gzip"}),
    "compressed zeros": Refusal(413, PREDICT, gzip.compress(bytes(MB)), JSON | {"Content-Encoding": "gzip"}),
    "no tensor": Refusal(400, INFER, json.dumps({"inputs": ["x" * (BODY - 100)]}).encode(), JSON),
    "unknown output": Refusal(400, INFER, json.dumps({"inputs": [TENSOR], "outputs": [{"name": "z"}]}).encode(), JSON),
    "unknown parameter": Refusal(400, INFER, json.dumps({"inputs": [TENSOR], "parameters": {"a": 1}}).encode(), JSON),
    "absent call": Refusal(404, "/v2/repository/models/patient/load", b"x" * BODY, JSON),
    "no model for a task": Refusal(404, "/v1/translate", json.dumps({"text": "x" * 1000}).encode(), JSON),
    "not a chat": Refusal(400, "/v1/chat/completions", b'{"model": "patient", "messages": 1}', JSON),
}


class Pod(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Has all models loaded but ``broken``; fails on rows that begin with ``!``, and never answers others."""

    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=request.name != "broken")

    def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        index = pb.RepositoryIndexResponse.ModelIndex(name="broken", version="1", state="UNAVAILABLE", reason="no file")
        return pb.RepositoryIndexResponse(models=[index])

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        if request.raw_input_contents[0][4:5] == b"!":
            context.abort(grpc.StatusCode.INTERNAL, "it failed")
        left = threading.Event()
        if context.add_callback(left.set):
            left.wait()
        return pb.ModelInferResponse()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a model that answers nothing, and one that no pod can load."""
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.REGRESSION,
        [Field("text", FieldKind.TEXT, "BYTES", max_length=BODY - 1)],
        [Output("y", "FP32")],
    )
    models = []
    for name in ("patient", "broken"):
        versions = {number: Version(name, number, manifest, [], "2026-01-01T00:00:00Z") for number in (1, 2)}
        models.append(Model(name, 1, versions, {"production": [AliasTarget(1)]}))
    (port,) = free_ports(1)
    pod = grpc.server(ThreadPoolExecutor(16))
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Pod(), pod)
    pod.add_insecure_port(f"127.0.0.1:{port}")
    pod.start()
    try:
        with running_gateway(
            tmp_path_factory.mktemp("memory"),
            models,
            PENSTOCK_GATEWAY_UPSTREAM=f"127.0.0.1:{port}",
            PENSTOCK_GATEWAY_MAX_BODY_BYTES=str(BODY + 1_000),
        ) as running:
            ready = f"http://127.0.0.1:{running.port}/readyz"
            until(lambda: httpx.get(ready).status_code == 200, "the gateway to be ready")
            yield running
    finally:
        pod.stop(None).wait()


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_are_forgotten(gateway: Gateway, kind: str) -> None:
    """However a request is refused, two thousand of them take no more memory than a few hundred."""
    refusal = REFUSED[kind]
    memory = FlatMemory(kind, gateway.process.pid)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    if refusal.status == 429:
        ask(connection, refusal)  # the one that it may send
    for number in range(-200, REFUSALS):
        assert ask(connection, refusal) == refusal.status
        if number >= 0 and number % 20 == 0:
            memory.sample()
    connection.close()
    memory.check(MOST_GROWTH)


def ask(connection: http.client.HTTPConnection, refusal: Refusal) -> int:
    connection.request(refusal.method, refusal.path, refusal.body, refusal.headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_requests_whose_client_left_are_forgotten(gateway: Gateway) -> None:
    """Ten thousand clients leave while their request is with the pod or waits for it."""
    body = json.dumps({"text": "x" * (BODY // 2)}).encode()
    head = f"POST {PREDICT} HTTP/1.1\r\nAPI-Key: {KEYS['attacker']}\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
    memory = FlatMemory("cancelled", gateway.process.pid)
    for number in range(-10, CANCELLED // AT_ONCE):  # the first ones fill the allocator's free lists
        left = left_early(gateway)
        clients = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(AT_ONCE)]
        for client in clients:
            client.sendall(request)
        until(lambda: metric(gateway, 'rows_in_flight{model="patient"}') == AT_ONCE, "all requests to be there")
        for client in clients:
            client.close()
        until(lambda left=left: left_early(gateway) == left + AT_ONCE, "the gateway to notice")  # type: ignore[misc]
        if number >= 0:
            memory.sample()
    assert metric(gateway, 'rows_in_flight{model="patient"}') == 0
    memory.check(MOST_GROWTH)


def left_early(gateway: Gateway) -> float:
    return metric(gateway, 'requests_total{route="predict",status="499"}')


def metric(gateway: Gateway, series: str) -> float:
    page = httpx.get(f"http://127.0.0.1:{gateway.port}/metrics").text
    found = re.search(rf"^penstock_gateway_{re.escape(series)} (.+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0
