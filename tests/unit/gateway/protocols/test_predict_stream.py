"""Streams of predictions: the events of ``/v1`` and of Triton's generate extension."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.limits.admission import Usage
from penstock_gateway.protocols.openapi import document
from penstock_gateway.protocols.predict_stream import PredictStream
from penstock_gateway.protocols.triton_generate import Generate
from penstock_gateway.signature.rows import RawOutputs, Rows
from tests.unit.gateway.protocols.one_servable import OneServable, call

MANIFEST = Manifest(
    Format.PYTHON,
    "m.py",
    Task.TENSOR,
    [Field("prompt", FieldKind.TEXT, "BYTES"), Field("tokens", FieldKind.INTEGER, "UINT64", required=False, default=7)],
    [Output("text", "BYTES")],
    stream=True,
)


class Streams(OneServable):
    """Gives the texts as chunks."""

    def __init__(self, *texts: str) -> None:
        super().__init__("chat", MANIFEST)
        self._texts = texts
        self.closed = False

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        self.inferred.append(rows)
        try:
            for text in self._texts:
                yield RawOutputs([pack_bytes([text.encode()])])
        finally:
            self.closed = True


def asked(body: bytes) -> Call:
    """A call of a client that stays."""

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    given = call(body, model="chat")
    given.receive = receive
    return given


async def events(reply: Reply) -> list[bytes]:
    assert not isinstance(reply.body, bytes)
    return [event async for event in reply.body]


async def test_each_chunk_has_the_form_of_a_prediction() -> None:
    """With the version in a header, one row used, and an end."""
    servable = Streams("a", "b")
    reply = await PredictStream(servable.dataplane, 1000, 60.0)(asked(b'{"prompt": "x"}'))
    assert (reply.headers[0], reply.usage) == ((b"x-model-version", b"3"), Usage(rows=1))
    *chunks, end = await events(reply)
    assert [orjson.loads(chunk.removeprefix(b"data: ")) for chunk in chunks] == [
        {"outputs": {"text": text}, "model": "chat", "version": "3"} for text in "ab"
    ]
    assert end == b"data: [DONE]\n\n"
    assert servable.closed


async def test_a_row_that_does_not_fit_is_refused() -> None:
    """Before anything is asked of the model."""
    servable = Streams("a")
    with pytest.raises(PenstockError, match="'prompt' is missing"):
        await PredictStream(servable.dataplane, 1000, 60.0)(asked(b"{}"))
    assert servable.inferred == []


async def test_a_chunk_that_is_too_large_ends_the_stream() -> None:
    """With an event that names the bound; the model's stream is closed."""
    servable = Streams("a", "b" * 2000, "c")
    reply = await PredictStream(servable.dataplane, 1000, 60.0)(asked(b'{"prompt": "x"}'))
    _, error = await events(reply)
    assert b"event: error" in error and b"answer-too-large" in error
    assert servable.closed


async def test_generate_streams_the_outputs_by_name() -> None:
    """Inputs stand in the object or in its parameters, exactly as they were written; no event marks the end."""
    servable = Streams("a", "b")
    body = b'{"id": "1", "prompt": "x", "parameters": {"tokens": 18446744073709551615}}'
    reply = await Generate(servable.dataplane, 1000, 60.0).stream(asked(body))
    assert [orjson.loads(event.removeprefix(b"data: ")) for event in await events(reply)] == [
        {"model_name": "chat", "model_version": "3", "text": text} for text in "ab"
    ]
    assert servable.inferred[0].inputs[1] == struct.pack("<Q", 2**64 - 1)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"[1]", 422, "one object"),
        (b'{"prompt": "x", "parameters": 1}', 422, "parameters: it is an object"),
        (b'{"prompt": "x", "parameters": {"heat": 1}}', 422, "Unknown field 'heat'"),
        (b'{"prompt": ', 400, "JSON"),
    ],
)
async def test_generate_refuses_what_is_no_row(body: bytes, status: int, text: str) -> None:
    """The refusal says what is expected."""
    with pytest.raises(PenstockError, match=text) as caught:
        await Generate(Streams().dataplane, 1000, 60.0).stream(asked(body))
    assert caught.value.status == status


def test_the_document_describes_the_stream() -> None:
    """A model that streams has paths for its stream and not for one answer; what an event holds has a schema."""
    paths = document(Streams().catalog, "other")["paths"]
    assert [path for path in paths if "chat" in path] == [
        "/v1/models/chat/stream",
        "/v1/models/chat/versions/{version}/stream",
    ]
    operation = paths["/v1/models/chat/stream"]["post"]
    schema = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]
    assert set(schema["contentSchema"]["properties"]) == {"model", "version", "outputs"}
    assert operation["requestBody"]["content"]["application/json"]["schema"]["type"] == "object"
