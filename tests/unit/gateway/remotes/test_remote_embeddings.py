"""A remote that makes vectors: what its server is sent, and which answers are vectors."""

from __future__ import annotations

import base64
import time
from typing import Any

import numpy as np
import orjson
import pytest

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.protocols.openai.embeddings import vector_width
from penstock_gateway.remotes.embeddings import RemoteEmbeddings, embeddings_manifest, stands_in_for_embeddings
from penstock_gateway.remotes.server import RemoteServer
from penstock_gateway.signature.signature import Signature
from tests.unit.gateway.remotes.foreign_server import ForeignServer, answers, raised, remote_server

VECTORS = np.array([[0.1, -2.5, 3e-8], [4, 5, 6]], np.float32)


def body(*embeddings: Any, tokens: int = 7) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": embedding} for i, embedding in enumerate(embeddings)]
    return {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def encoded(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def embedding_server(url: str, width: int = 3) -> RemoteServer:
    return remote_server(url, routes=("embeddings",), width=width)


def servable(server: RemoteServer) -> RemoteEmbeddings:
    return RemoteEmbeddings("gpt", server, Signature(embeddings_manifest(server.remote), "gpt"))


async def vectors(server: RemoteServer) -> list[bytes]:
    embeddings = servable(server)
    rows = embeddings.signature.decoder.decode_json(orjson.dumps([{"text": "a"}, {"text": "é"}]))
    outputs = await embeddings.infer(rows, time.monotonic() + 20)
    assert rows.served_by == "remote:gpt"
    return outputs.tensors


@pytest.mark.parametrize("as_text", [True, False])
async def test_vectors_come_as_floats_or_base64(as_text: bool) -> None:
    """In any order, bit for bit; the tokens of a request are spread over its rows."""
    embeddings = [encoded(vector) if as_text else vector.tolist() for vector in VECTORS]
    async with ForeignServer(answers(200, body(*embeddings))) as foreign:
        numbers, tokens = await vectors(embedding_server(foreign.url))
        [request] = foreign.requests
    assert numbers == VECTORS.tobytes()
    assert np.frombuffer(tokens, "<i4").tolist() == [4, 3]
    assert (request.path, request.body) == (
        "/v1/embeddings",
        {"model": "foreign", "input": ["a", "é"], "encoding_format": "base64"},
    )


@pytest.mark.parametrize(
    "answer",
    [
        body(encoded(VECTORS[0])),
        body(encoded(VECTORS[0]), encoded(VECTORS[1][:2])),
        body([1.0, 2.0, 3.0], [1.0, 2.0, "x"]),
        body("no base64!", encoded(VECTORS[1])),
        {"data": [{"index": 0, "embedding": encoded(VECTORS[0])}] * 2},
        {"nothing": True},
        b"not JSON",
    ],
)
async def test_what_are_not_the_vectors_is_refused(answer: Any) -> None:
    """Too few, too short, no numbers, one twice."""
    async with ForeignServer(answers(200, answer)) as foreign:
        err = await raised(vectors(embedding_server(foreign.url)))
    assert (err.status, err.code) == (500, "bad-remote-answer")


async def test_an_answer_that_is_too_large_is_not_read() -> None:
    """Its bytes are bounded, whatever it holds."""
    async with ForeignServer(answers(200, b" " * 2_000_000)) as foreign:
        err = await raised(vectors(embedding_server(foreign.url)))
    assert (err.status, err.code) == (500, "bad-remote-answer")


def test_openais_route_knows_it_for_a_model_of_vectors() -> None:
    """By its signature alone."""
    assert vector_width(servable(embedding_server("http://127.0.0.1:9/v1")).signature) == 3


@pytest.mark.parametrize(
    ("outputs", "fits"),
    [
        ([Output("vector", "FP32", [3])], True),
        ([Output("vector", "FP32", [3]), Output("tokens", "INT32")], True),
        ([Output("vector", "FP32", [4])], False),
        ([Output("vector", "FP32", [3]), Output("norm", "FP32")], False),
    ],
)
def test_it_stands_in_only_for_vectors_of_the_same_width(outputs: list[Output], fits: bool) -> None:
    """And for a model whose outputs it can fill."""
    manifest = Manifest(Format.ONNX, "m", Task.TENSOR, [Field("t", FieldKind.TEXT, "BYTES")], outputs)
    remote = embedding_server("http://127.0.0.1:9/v1").remote
    assert stands_in_for_embeddings(Signature(manifest, "m"), remote) is fits
