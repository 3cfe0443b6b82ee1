"""A remote that generates text: what its server is sent, and what of its stream becomes the model's answer."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.protocols.openai.generation import Gathered, ModelInputs, PieceReader, generation_rows
from penstock_gateway.remotes.server import RemoteServer
from penstock_gateway.remotes.text import RemoteText, text_manifest
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature
from tests.unit.gateway.remotes.foreign_server import (
    HELLO,
    ForeignServer,
    delta,
    hangs,
    hangs_up,
    raised,
    remote_server,
    streams,
    usage,
    write_piece,
)
from tests.unit.gateway.signature.test_image_bounds import jpeg, png

MESSAGES = orjson.dumps([{"role": "user", "content": "Hi"}]).decode()


def servable(server: RemoteServer) -> RemoteText:
    return RemoteText("gpt", server, Signature(text_manifest(server.remote), "gpt"))


def rows(text: RemoteText, **inputs: Any) -> Rows:
    return generation_rows(text.signature, ModelInputs(inputs or {"messages": MESSAGES}))


async def gathered(text: RemoteText, asked: Rows, seconds: float = 20.0) -> Gathered:
    """The whole answer, read as the routes of OpenAI's API read it."""
    reader, found = PieceReader(text.signature.manifest, "gpt"), Gathered()
    async for chunk in text.stream(asked, time.monotonic() + seconds):
        found.add(reader.read(chunk))
    return found


async def test_a_stream_becomes_the_models_chunks() -> None:
    """Text at once, the finish and the tokens that the server has counted in the last one."""
    async with ForeignServer(HELLO) as foreign:
        text = servable(remote_server(foreign.url))
        asked = rows(text)
        reader = PieceReader(text.signature.manifest, "gpt")
        pieces = [reader.read(chunk) async for chunk in text.stream(asked, time.monotonic() + 20)]
    assert [piece.text for piece in pieces] == ["Hel", "lo", ""]
    assert [(piece.finish_reason, piece.tokens, piece.prompt_tokens) for piece in pieces][-1] == ("stop", 2, 5)
    assert asked.served_by == "remote:gpt"


async def test_a_row_becomes_a_request() -> None:
    """With the server's name of the model, its credential, numbers as they were sent, and the time that is left."""
    async with ForeignServer(HELLO) as foreign:
        text = servable(remote_server(foreign.url, credential="sk-1", limit="max_completion_tokens"))
        inputs = {"temperature": 0.7, "top_p": 0.9, "seed": 7, "stop": ["x", "é"], "max_tokens": 9, "logprobs": 2}
        await gathered(text, rows(text, messages=MESSAGES, **inputs))
        [request] = foreign.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-1"
    assert 0 < float(request.headers["x-request-timeout"]) <= 20
    assert request.body == {
        "model": "foreign",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["x", "é"],
        "max_completion_tokens": 9,
        "logprobs": True,
        "top_logprobs": 2,
    }


async def test_a_prompt_goes_to_the_older_route() -> None:
    """For a remote that has it; its texts are not in deltas."""
    chunks = [{"choices": [{"text": "Hel"}]}, {"choices": [{"text": "lo", "finish_reason": "length"}]}]
    async with ForeignServer(streams(*chunks)) as foreign:
        text = servable(remote_server(foreign.url, routes=("chat", "completions")))
        found = await gathered(text, rows(text, prompt="Say", max_tokens=2, logprobs=1))
        [request] = foreign.requests
    assert request.path == "/v1/completions"
    assert (request.body["prompt"], request.body["max_tokens"], request.body["logprobs"]) == ("Say", 2, 1)
    assert (found.text, found.finish_reason) == ("Hello", "length")


async def test_a_remote_takes_only_what_its_routes_take() -> None:
    """A chat takes no prompt, and a text is neither or both."""
    text = servable(remote_server("http://127.0.0.1:9/v1"))
    assert "prompt" not in {field.name for field in text.signature.manifest.client_inputs}
    err = await raised(gathered(text, generation_rows(text.signature, ModelInputs({"max_tokens": 1}))))
    assert (err.status, err.code) == (422, "invalid-input")


async def test_pictures_go_where_the_messages_have_them() -> None:
    """In their order, as data: URLs of their types; beside texts, which stay what they are."""
    files = [png(2, 2), jpeg(2, 2, scans=1)]
    parts = [{"type": "image"}, {"type": "text", "text": "And?"}, {"type": "image"}]
    messages = orjson.dumps([{"role": "user", "content": parts}]).decode()
    encoded = [base64.b64encode(file).decode() for file in files]
    async with ForeignServer(HELLO) as foreign:
        text = servable(remote_server(foreign.url, images=True))
        await gathered(text, rows(text, messages=messages, images=encoded))
        [request] = foreign.requests
    urls = [f"data:image/{kind};base64,{file}" for kind, file in zip(("png", "jpeg"), encoded, strict=True)]
    seen = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    assert request.body["messages"] == [{"role": "user", "content": [seen[0], parts[1], seen[1]]}]


@pytest.mark.parametrize("messages", ["5", MESSAGES])
async def test_pictures_without_a_place_are_refused(messages: str) -> None:
    """As many as the messages have parts for them, whatever the messages are."""
    text = servable(remote_server("http://127.0.0.1:9/v1", images=True))
    picture = base64.b64encode(png(2, 2)).decode()
    err = await raised(gathered(text, rows(text, messages=messages, images=[picture])))
    assert (err.status, err.extra["field"]) == (422, "images")


async def test_pictures_are_for_remotes_that_see() -> None:
    """Others have no input for them."""
    text = servable(remote_server("http://127.0.0.1:9/v1"))
    assert "images" not in {field.name for field in text.signature.manifest.client_inputs}


async def test_messages_that_are_not_json_are_the_callers_fault() -> None:
    """They may come by a route that takes any text."""
    text = servable(remote_server("http://127.0.0.1:9/v1"))
    err = await raised(gathered(text, rows(text, messages="Hi")))
    assert (err.status, err.extra["field"]) == (422, "messages")


@pytest.mark.parametrize("route", ["chat", "completions"])
async def test_logprobs_have_one_form(route: str) -> None:
    """That of a model here, whichever of its two forms the server uses."""
    token = {"token": "é", "logprob": -0.5}
    of_chat = {"content": [token | {"bytes": [195, 169], "top_logprobs": [token]}]}
    of_completion = {"tokens": ["é"], "token_logprobs": [-0.5], "top_logprobs": [{"é": -0.5}], "text_offset": [0]}
    choice = (
        {"delta": {"content": "é"}, "logprobs": of_chat}
        if route == "chat"
        else {"text": "é", "logprobs": of_completion}
    )
    async with ForeignServer(streams({"choices": [choice]})) as foreign:
        text = servable(remote_server(foreign.url, routes=(route,)))
        given = {"messages": MESSAGES} if route == "chat" else {"prompt": "x"}
        [logprob] = (await gathered(text, rows(text, logprobs=1, **given))).logprobs
    assert (logprob.token, logprob.logprob) == ("é", -0.5)
    assert [(other.token, other.logprob) for other in logprob.top_logprobs] == [("é", -0.5)]


async def test_calls_of_tools_go_there_and_come_back() -> None:
    """The members as JSON, the pieces of the calls in the model's own form."""
    calls = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city": "Ulm"}'}},
    ]
    finish = {"delta": {"content": None}, "finish_reason": "tool_calls"}
    chunks = [{"choices": [{"delta": {"tool_calls": [call]}}]} for call in calls] + [{"choices": [finish]}]
    names = ("messages", "tools", "tool_choice", "response_format")
    manifest = Manifest(
        Format.TRANSFORMERS,
        "m",
        Task.GENERATION,
        [Field(name, FieldKind.TEXT, "BYTES", required=False) for name in names],
        [Output("text", "BYTES"), Output("tool_calls", "BYTES"), Output("finish_reason", "BYTES")],
        stream=True,
    )
    given = {"messages": [], "tools": [{"type": "function"}], "tool_choice": "auto", "response_format": {"type": "x"}}
    async with ForeignServer(streams(*chunks)) as foreign:
        text = RemoteText("gpt", remote_server(foreign.url), Signature(manifest, "gpt"))
        asked = rows(text, **{name: orjson.dumps(value).decode() for name, value in given.items()})
        found = [text.signature.presenter.named(chunk) async for chunk in text.stream(asked, time.monotonic() + 20)]
        assert {name: foreign.requests[0].body[name] for name in names} == given
    assert [orjson.loads(chunk["tool_calls"] or "null") for chunk in found] == [
        [{"index": 0, "id": "call_1", "name": "weather", "arguments": ""}],
        [{"index": 0, "arguments": '{"city": "Ulm"}'}],
        None,
    ]
    assert found[-1]["finish_reason"] == "tool_calls"


async def test_without_usage_each_chunk_counts() -> None:
    """An estimate, so that no server is free; a finish that is not said is a stop."""
    async with ForeignServer(streams(delta("a"), delta("b"), delta("c"))) as foreign:
        found = await gathered(text := servable(remote_server(foreign.url)), rows(text))
    assert (found.text, found.tokens, found.finish_reason) == ("abc", 3, "stop")


async def test_a_finished_text_needs_no_more() -> None:
    """Not the mark of the end, which transformers' server does not send, nor that the server stays."""
    for then in (None, hangs_up, hangs):
        async with ForeignServer(streams(delta("abc", "stop"), end=b"", then=then)) as foreign:
            found = await gathered(text := servable(remote_server(foreign.url, idle_seconds=0.1)), rows(text))
        assert (found.text, found.finish_reason) == ("abc", "stop")


async def test_a_long_text_takes_longer_than_its_beginning_may() -> None:
    """Once it has begun, the time between two events counts."""

    async def goes_on(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.1)
        await write_piece(writer, b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps(delta("b")))
        writer.write(b"0\r\n\r\n")

    async with ForeignServer(streams(delta("a"), then=goes_on)) as foreign:
        text = servable(remote_server(foreign.url, first_seconds=1.0, idle_seconds=60.0))
        assert (await gathered(text, rows(text), 60.0)).text == "ab"


async def test_a_connection_is_used_again() -> None:
    """The end of a stream is read, so that the next request opens no connection."""
    async with ForeignServer(HELLO) as foreign:
        text = servable(remote_server(foreign.url))
        for _ in range(3):
            await gathered(text, rows(text))
        assert (len(foreign.requests), foreign.connections) == (3, 1)


async def test_who_stops_reading_closes_the_connection() -> None:
    """At once, in the middle of the stream; what was written until then is spent."""
    resume = asyncio.Event()

    async def goes_on(writer: asyncio.StreamWriter) -> None:
        await resume.wait()
        await write_piece(writer, b"data: [DONE]\n\n")

    spent: list[int] = []
    async with ForeignServer(streams(delta("a"), delta("b"), then=goes_on)) as foreign:
        server = remote_server(foreign.url)
        text = RemoteText("gpt", server, Signature(text_manifest(server.remote), "gpt"), spent.append)
        async with aclosing(text.stream(rows(text), time.monotonic() + 20)) as chunks:
            await anext(chunks)
            await anext(chunks)
        await asyncio.wait_for(foreign.left.wait(), 10)
    assert spent == [2]


async def test_cancelling_before_the_head_closes_the_connection() -> None:
    """As a client does that leaves before anything was answered."""
    begun = asyncio.Event()

    async def begins(_: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with ForeignServer(begins) as foreign:
        text = servable(remote_server(foreign.url))
        asking = asyncio.ensure_future(gathered(text, rows(text)))
        await asyncio.wait_for(begun.wait(), 10)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(foreign.left.wait(), 10)


async def test_a_stream_is_not_one_answer() -> None:
    """As with a model in pods that streams."""
    text = servable(remote_server("http://127.0.0.1:9/v1"))
    with pytest.raises(PenstockError) as caught:
        text.infer(rows(text), time.monotonic() + 1)
    assert (caught.value.status, caught.value.code) == (422, "model-streams")


async def test_a_retired_server_ends_what_is_under_way() -> None:
    """A list that changes breaks off no answer; after it, the connections are closed."""
    go_on = asyncio.Event()

    async def waits(writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        for piece in (delta("b", "stop"), usage(1, 2)):
            await write_piece(writer, b"data: %b\n\n" % orjson.dumps(piece))
        await write_piece(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    async with ForeignServer(streams(delta("a"), then=waits)) as foreign:
        server = remote_server(foreign.url)
        text = servable(server)
        chunks = text.stream(rows(text), time.monotonic() + 20)
        await anext(chunks)
        await server.retire()
        go_on.set()
        assert len([chunk async for chunk in chunks]) == 2
        assert server._client.is_closed
        err = await raised(gathered(text, rows(text)))  # of a request that has found it before
    assert (err.status, err.code) == (503, "remote-unavailable")
