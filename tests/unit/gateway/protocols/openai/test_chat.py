"""``/v1/chat/completions`` and ``/v1/completions``: what the model gets, and what clients read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import numpy as np
import orjson
import pytest

from penstock_common import text_generation
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes, unpack_bytes
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.limits.local import LocalAdmission
from penstock_gateway.limits.token_bucket import TokenBuckets
from penstock_gateway.protocols.openai.chat import ChatCompletions
from penstock_gateway.protocols.openai.completions import Completions
from penstock_gateway.signature.rows import RawOutputs, Rows
from tests.unit.gateway.protocols.one_servable import OneServable, call

INPUTS, OUTPUTS = list(text_generation.INPUTS), list(text_generation.OUTPUTS)
MESSAGES = [{"role": "user", "content": "Hi"}]
TOKEN = {"token": "é", "id": 7, "logprob": -0.5, "top_logprobs": [{"token": "é", "id": 7, "logprob": -0.5}]}


def chunk(text: str, finish: str = "", logprobs: str = "", calls: str = "") -> RawOutputs:
    number = np.int32(1).tobytes()
    texts = [pack_bytes([t.encode()]) for t in (text, finish, logprobs, calls)]
    return RawOutputs([texts[0], number, texts[1], np.int32(3).tobytes(), texts[2], texts[3]], [()] * 6)


class Writer(OneServable):
    """Generates what it is given; an exception among the chunks is raised."""

    def __init__(
        self, *chunks: RawOutputs | Exception, inputs: list[Field] = INPUTS, outputs: list[Output] = OUTPUTS
    ) -> None:
        manifest = Manifest(Format.TRANSFORMERS, "m", Task.GENERATION, inputs, outputs, stream=True)
        super().__init__("chat", manifest)
        self._chunks = chunks or (chunk("Hel"), chunk("lo", "stop"))
        self.open = 0

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        self.inferred.append(rows)
        self.open += 1
        try:
            for one in self._chunks:
                if isinstance(one, Exception):
                    raise one
                await asyncio.sleep(0)
                yield one
        finally:
            self.open -= 1

    def given(self, name: str, number: int = 0) -> bytes:
        """An input of one of the requests, raw."""
        index = [field.name for field in self.signature.manifest.client_inputs].index(name)
        return self.inferred[number].inputs[index]


class Silent(Writer):
    """Begins its answers and never says anything."""

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        self.open += 1
        try:
            await asyncio.Event().wait()
            yield chunk("")
        finally:
            self.open -= 1


def asked(members: dict[str, Any]) -> Call:
    """A call of a client that stays."""

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    given = call(orjson.dumps(members))
    given.receive = receive
    return given


async def chat(writer: Writer, **members: Any) -> Reply:
    request = {"model": "chat", "messages": MESSAGES} | members
    return await ChatCompletions(writer.dataplane, 60.0)(asked(request))


async def complete(writer: Writer, **members: Any) -> Reply:
    return await Completions(writer.dataplane, 60.0)(asked({"model": "chat", "prompt": "Hi"} | members))


def whole(reply: Reply) -> dict[str, Any]:
    assert isinstance(reply.body, bytes)
    document: dict[str, Any] = orjson.loads(reply.body)
    return document


async def documents(reply: Reply) -> list[dict[str, Any]]:
    """The chunks of a stream that ended as it should."""
    assert not isinstance(reply.body, bytes)
    *events, end = [event async for event in reply.body]
    assert end == b"data: [DONE]\n\n"
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events]


async def test_a_whole_answer_has_all_pieces_together() -> None:
    """With what it cost, and why it ended."""
    writer = Writer()
    answer = whole(await chat(writer))
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"]) == ("chat.completion", "chat")
    [choice] = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert writer.open == 0


async def test_chunks_have_one_id_and_begin_with_the_role() -> None:
    """The pieces joined are the whole answer; usage comes last, if asked."""
    found = await documents(await chat(Writer(), stream=True, stream_options={"include_usage": True}))
    assert len({(c["id"], c["object"], c["created"], c["model"]) for c in found}) == 1
    assert found[0]["object"] == "chat.completion.chunk"
    *chunks, last = found
    deltas = [c["choices"][0]["delta"] for c in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello"
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, "stop"]
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 5)
    assert all(c["usage"] is None for c in chunks)


async def test_a_stream_that_was_not_asked_for_usage_has_none() -> None:
    """As clients of long ago expect."""
    assert all("usage" not in c for c in await documents(await chat(Writer(), stream=True)))


async def test_the_model_gets_what_the_request_says() -> None:
    """Messages as one JSON text, content parts joined, and only the members that were sent."""
    writer = Writer()
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    await chat(writer, messages=messages, max_completion_tokens=5, temperature=0.5, seed=7, stop=["x", "yy"])
    [text] = unpack_bytes(writer.given("messages"), 1)
    assert orjson.loads(text) == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\nb"}]
    assert np.frombuffer(writer.given("max_tokens"), "<i4") == [5]
    assert np.frombuffer(writer.given("temperature"), "<f4") == [0.5]
    assert unpack_bytes(writer.given("stop"), 2) == [b"x", b"yy"]
    assert writer.given("top_p") == writer.given("prompt") == b""


async def test_several_choices_are_several_texts() -> None:
    """Each a stream of the model, with a seed of its own; what they cost is added up."""
    writer = Writer()
    answer = whole(await chat(writer, n=3, seed=7))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [int(np.frombuffer(writer.given("seed", i), "<i8")[0]) for i in range(3)] == [7, 8, 9]
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
    streamed = await documents(await chat(Writer(), n=2, stream=True))
    for i in range(2):
        own = [c["choices"][0]["delta"].get("content", "") for c in streamed if c["choices"][0]["index"] == i]
        assert "".join(own) == "Hello"


async def test_logprobs_have_the_bytes_of_their_tokens() -> None:
    """In both forms, and asked of the model as a number of alternatives."""
    writer = Writer(chunk("é", "stop", orjson.dumps([TOKEN]).decode()))
    answer = whole(await chat(writer, logprobs=True, top_logprobs=1))
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    assert answer["choices"][0]["logprobs"]["content"] == [token | {"top_logprobs": [token]}]
    assert np.frombuffer(writer.given("logprobs"), "<i4") == [1]
    old = whole(await complete(writer, logprobs=1))["choices"][0]["logprobs"]
    assert (old["tokens"], old["token_logprobs"], old["top_logprobs"]) == (["é"], [-0.5], [{"é": -0.5}])


async def test_a_text_is_continued() -> None:
    """The older route: a prompt in, and a text out, whole and in chunks."""
    writer = Writer()
    answer = whole(await complete(writer))
    assert (answer["object"], answer["choices"][0]["text"]) == ("text_completion", "Hello")
    assert unpack_bytes(writer.given("prompt"), 1) == [b"Hi"]
    found = await documents(await complete(writer, stream=True))
    assert "".join(c["choices"][0]["text"] for c in found) == "Hello"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content"),
        ({"n": 9}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"presence_penalty": "much"}, "presence_penalty"),
        ({"logit_bias": [5]}, "logit_bias"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"seed": "seven"}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"verbosity": "low"}, "verbosity"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"model": "m" * 257}, "model"),
    ],
)
async def test_what_is_not_carried_out_is_refused(members: dict[str, Any], param: str) -> None:
    """With 400, naming the member; nothing reaches the model."""
    writer = Writer()
    with pytest.raises(PenstockError) as caught:
        await chat(writer, **members)
    assert (caught.value.status, caught.value.extra.get("field"), writer.inferred) == (400, param, [])


async def test_what_changes_nothing_is_accepted() -> None:
    """Neutral values, and members that only describe the request."""
    neutral: dict[str, Any] = {"presence_penalty": 0, "tools": [], "response_format": {"type": "text"}, "n": 1}
    neutral |= {"logit_bias": {}, "tool_choice": None, "verbosity": "medium", "reasoning_effort": "none"}
    assert whole(await chat(Writer(), user="ann", store=False, metadata={}, **neutral))["choices"]


async def test_penalties_and_biases_reach_the_model() -> None:
    """A bias as JSON by token id."""
    writer = Writer()
    await chat(writer, presence_penalty=0.5, frequency_penalty=-1, logit_bias={"5": 1, "7": -100})
    penalties = [
        np.frombuffer(writer.given(f"{kind}_penalty"), np.float32).item() for kind in ("presence", "frequency")
    ]
    assert penalties == [0.5, -1.0]
    assert orjson.loads(writer.given("logit_bias")[4:]) == {"5": 1.0, "7": -100.0}


async def test_a_member_that_the_model_lacks_is_refused() -> None:
    """A seed that is ignored would give other texts than the client believes."""
    writer = Writer(inputs=INPUTS[:2])
    with pytest.raises(PenstockError, match="seed: 'chat' does not take it"):
        await chat(writer, seed=1)


async def test_a_model_that_does_not_generate_text_is_refused() -> None:
    """By what it is asked for, not by a field that it lacks."""
    manifest = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, INPUTS[:2], [Output("text", "BYTES")])
    servable = OneServable("spam", manifest)
    with pytest.raises(PenstockError, match="'spam' does not generate text"):
        await ChatCompletions(servable.dataplane, 60.0)(asked({"model": "spam", "messages": MESSAGES}))


async def test_an_error_on_the_way_is_the_last_event() -> None:
    """In OpenAI's form, and without an end; one before the first chunk is an ordinary refusal."""
    broken = PenstockError(503, "model-restarting", "The model restarts.")
    reply = await chat(Writer(chunk("Hel"), broken), stream=True)
    assert not isinstance(reply.body, bytes)
    events = [event async for event in reply.body]
    assert events[-1].startswith(b"event: error\ndata: ")
    error = orjson.loads(events[-1].partition(b"data: ")[2])["error"]
    assert error == {
        "message": "The model restarts.",
        "type": "server_error",
        "param": None,
        "code": "model-restarting",
    }
    with pytest.raises(PenstockError, match="The model restarts"):
        await chat(Writer(broken.copy()), stream=True)


@pytest.mark.parametrize(
    "body",
    [
        '{"model": "chat", "messages": [{"role": "assistant", "tool_calls": [{"a": %s}]}]}',
        '{"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "response_format": %s}',
    ],
)
async def test_json_of_any_depth_is_read_or_refused(body: str) -> None:
    """Also JSON that can just be read, but that would be too deep for a second pass over it."""
    handler = ChatCompletions(Writer().dataplane, 60.0)
    for depth in range(700, 1010):
        given = asked({})
        given.body = (body % ("[" * depth + "]" * depth)).encode()
        with contextlib.suppress(PenstockError):
            await handler(given)


async def test_an_error_quotes_only_the_start_of_what_was_sent() -> None:
    """A request of megabytes is not answered with as many."""
    with pytest.raises(PenstockError) as caught:
        await chat(Writer(), messages=[{"role": "x" * 100_000, "content": "Hi"}])
    assert len(caught.value.detail) < 300


async def test_calls_of_tools_reach_the_model_as_they_are() -> None:
    """With an empty text if the message has none."""
    writer = Writer()
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    await chat(writer, messages=[{"role": "assistant", "tool_calls": calls}])
    [text] = unpack_bytes(writer.given("messages"), 1)
    assert orjson.loads(text) == [{"role": "assistant", "content": "", "tool_calls": calls}]


async def test_each_choice_is_a_row_in_the_accounts() -> None:
    """Several texts are admitted as so many rows, all of which are given back."""
    admission = LocalAdmission(TokenBuckets(1.0, 100.0, lambda: 0.0))
    given = asked({"model": "chat", "messages": MESSAGES, "n": 3})
    given.lease = lease = admission.arrive(given.principal, len(given.body))
    reply = await ChatCompletions(Writer().dataplane, 60.0)(given)
    [(_, rows)] = admission.rows()
    assert (reply.usage.rows, rows.in_flight) == (3, 3)
    lease.settle(reply.usage)
    assert (rows.in_flight, rows.answered) == (0, 3)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_given_up_before_its_first_chunk_frees_all_its_streams(stream: bool) -> None:
    """Whole or in chunks, nothing is left open."""
    writer = Silent()
    request = asyncio.ensure_future(chat(writer, n=2, stream=stream))
    while writer.open < 2:
        await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert writer.open == 0


@pytest.mark.parametrize("logprobs", ["7", "[7]", '[{"token": "a"}]', '[{"token": "\\ud800", "logprob": 0}]'])
async def test_logprobs_that_are_not_tokens_are_the_models_fault(logprobs: str) -> None:
    """The error says so, and not that the gateway failed."""
    with pytest.raises(PenstockError) as caught:
        await chat(Writer(chunk("a", "stop", logprobs)), logprobs=True)
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")


async def test_a_client_that_leaves_frees_all_its_streams() -> None:
    """Closing the answer closes each choice's stream."""
    writer = Writer()
    reply = await chat(writer, n=2, stream=True)
    assert not isinstance(reply.body, bytes)
    await anext(reply.body)
    assert writer.open == 2
    await reply.body.aclose()
    assert writer.open == 0
