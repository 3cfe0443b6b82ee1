"""``response_format`` and tools of ``/v1/chat/completions``: what the model gets, and the calls that clients read."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.tensors import unpack_bytes
from penstock_gateway.protocols.openai.errors import openai_reply
from tests.unit.gateway.protocols.openai.test_chat import INPUTS, OUTPUTS, Writer, chat, chunk, documents, whole

SCHEMA = {"type": "object", "properties": {"z": {}, "a": {}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


NAMED = {"type": "function", "function": {"name": "f"}}
PIECES = [
    [{"index": 0, "id": "call_a", "name": "f", "arguments": ""}],
    [{"index": 0, "arguments": '{"x":'}],
    [{"index": 0, "arguments": "1}"}, {"index": 1, "id": "call_b", "name": "g", "arguments": ""}],
    [{"index": 1, "arguments": "{}"}],
]


def calling() -> Writer:
    """Says something, and calls two tools."""
    chunks = [chunk("", calls=orjson.dumps(pieces).decode()) for pieces in PIECES]
    return Writer(chunk("Let me see."), *chunks, chunk("", "tool_calls"))


def texts_given(writer: Writer, *names: str) -> list[Any]:
    """What the model got, read from JSON; None for an input that is absent."""
    raw = [writer.given(name) for name in names]
    return [orjson.loads(unpack_bytes(value, 1)[0]) if value else None for value in raw]


async def test_the_model_gets_the_form_that_is_asked_for() -> None:
    """As JSON, with the schema as it was sent; members that change nothing stay away."""
    writer = Writer()
    await chat(writer, response_format=FORMAT, tools=[tool("f")], tool_choice=NAMED, parallel_tool_calls=False)
    found = texts_given(writer, "response_format", "tools", "tool_choice")
    assert found == [FORMAT, [tool("f")], NAMED]
    assert orjson.dumps(SCHEMA) in writer.given("response_format").replace(b" ", b"")  # in the order that it had
    assert np.frombuffer(writer.given("parallel_tool_calls"), np.bool_).tolist() == [False]
    neutral = {"response_format": {"type": "text"}, "tools": [tool("f")], "tool_choice": "none"}
    await chat(writer, **neutral, parallel_tool_calls=True)
    for name in ("response_format", "tools", "tool_choice", "parallel_tool_calls"):
        index = [field.name for field in INPUTS].index(name)
        assert writer.inferred[1].inputs[index] == b""


async def test_a_whole_answer_has_its_calls() -> None:
    """Their arguments joined, beside the text."""
    [choice] = whole(await chat(calling(), tools=[tool("f"), tool("g")]))["choices"]
    calls = [
        {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    message = {"role": "assistant", "content": "Let me see.", "refusal": None, "tool_calls": calls}
    assert (choice["message"], choice["finish_reason"]) == (message, "tool_calls")


async def test_calls_are_streamed_with_their_index() -> None:
    """A call begins with its id and name; then only more of its arguments comes."""
    found = await documents(await chat(calling(), tools=[tool("f"), tool("g")], stream=True))
    deltas = [delta for c in found for delta in c["choices"][0]["delta"].get("tool_calls", [])]
    assert deltas == [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 0, "function": {"arguments": "1}"}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_answer_that_is_only_a_call_has_no_content() -> None:
    """As clients expect that tell calls from texts by it."""
    calls = '[{"index": 0, "id": "call_a", "name": "f", "arguments": "{}"}]'
    [choice] = whole(await chat(Writer(chunk("", "tool_calls", calls=calls)), tools=[tool("f")]))["choices"]
    assert choice["message"]["content"] is None


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
            "response_format.json_schema.name",
        ),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [tool("a/b")]}, "tools[0].function.name"),
        ({"tools": [tool(f"t{i}") for i in range(129)]}, "tools"),
        ({"tools": [tool("f"), tool("f")]}, "tools"),
        ({"tools": [tool("g")], "tool_choice": NAMED}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool("g")], "tool_choice": "perhaps"}, "tool_choice"),
    ],
)
async def test_what_has_the_wrong_shape_is_refused(members: dict[str, Any], param: str) -> None:
    """With 400, naming the member; nothing reaches the model."""
    writer = Writer()
    with pytest.raises(PenstockError) as caught:
        await chat(writer, **members)
    assert (caught.value.status, caught.value.extra.get("field"), writer.inferred) == (400, param, [])


@pytest.mark.parametrize("missing", ["tools", "tool_calls", "response_format"])
async def test_a_model_that_lacks_an_input_or_the_calls_is_not_asked(missing: str) -> None:
    """The error names the member that it cannot carry out."""
    inputs = [field for field in INPUTS if field.name != missing]
    outputs = [output for output in OUTPUTS if output.name != missing]
    with pytest.raises(PenstockError, match="'chat'") as caught:
        await chat(Writer(inputs=inputs, outputs=outputs), tools=[tool("f")], response_format=FORMAT)
    assert caught.value.extra["field"] == ("response_format" if missing == "response_format" else "tools")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("detail", "param"),
    [
        ("response_format.json_schema.schema: no answer can be held to it.", "response_format"),
        ("messages: the prompt has 9 tokens.", "messages"),
        ("The grammar of the answer became too complex: it did.", None),
    ],
)
async def test_a_refusal_of_the_pods_names_the_member(stream: bool, detail: str, param: str | None) -> None:
    """As 400 in OpenAI's form, before a stream begins."""
    refused = PenstockError(422, "invalid-input", detail)
    with pytest.raises(PenstockError) as caught:
        await chat(Writer(refused), stream=stream, response_format=FORMAT)
    reply = openai_reply(caught.value, b"1", "/v1/chat/completions")
    error = whole(reply)["error"]
    assert (reply.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"] == detail


@pytest.mark.parametrize("calls", ["7", "[7]", '[{"index": -1}]', '[{"index": 0, "name": 5}]'])
async def test_calls_that_are_none_are_the_models_fault(calls: str) -> None:
    """The error says so, and not that the gateway failed."""
    with pytest.raises(PenstockError) as caught:
        await chat(Writer(chunk("a", "stop", calls=calls)))
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")
