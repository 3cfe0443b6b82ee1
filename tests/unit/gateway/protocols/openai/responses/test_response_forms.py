"""Tools and formats of ``/v1/responses``: what the model gets, and the calls that clients read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.responses import Response

from penstock_common.errors import PenstockError
from tests.unit.gateway.protocols.openai.responses.asking import events, messages, respond, valid
from tests.unit.gateway.protocols.openai.test_chat import Writer, chunk, whole
from tests.unit.gateway.protocols.openai.test_chat_forms import calling, texts_given
from tests.unit.gateway.stored_responses.storing import new_store

SCHEMA = {"type": "object", "properties": {"z": {}, "a": {}}}
FORMAT = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": SCHEMA}


TOOLS = [tool("f"), tool("g")]


async def test_the_model_gets_the_form_in_the_words_of_chat_completions() -> None:
    """And the response repeats it in its own."""
    writer = Writer()
    bare = {"type": "function", "name": "g", "description": "Nothing."}
    choice = {"type": "function", "name": "f"}
    reply = await respond(writer, text={"format": FORMAT}, tools=[tool("f"), bare], tool_choice=choice)
    assert texts_given(writer, "response_format", "tools", "tool_choice") == [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        [
            {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
            {"type": "function", "function": {"name": "g", "description": "Nothing."}},
        ],
        {"type": "function", "function": {"name": "f"}},
    ]
    response = whole(reply)
    Response.model_validate(response)  # for Open Responses, a schema is not repeated
    assert response["text"]["format"] == FORMAT | {"description": None}
    assert response["tools"] == [
        tool("f") | {"description": None, "strict": None},
        bare | {"parameters": None, "strict": None},
    ]
    assert response["tool_choice"] == choice


async def test_a_choice_of_no_tool_or_of_any_changes_nothing() -> None:
    """Without tools the model gets neither; a plain format is none."""
    writer = Writer()
    plain = {"text": {"format": {"type": "text"}}, "tools": []}
    assert valid(whole(await respond(writer, tool_choice="auto", **plain)))["tool_choice"] == "auto"
    assert texts_given(writer, "response_format", "tools", "tool_choice") == [None, None, None]


async def test_calls_are_items_of_the_output() -> None:
    """Each with its arguments, behind what the model said before."""
    response = valid(whole(await respond(calling(), tools=TOOLS)))
    message, first, second = response["output"]
    assert message["content"][0]["text"] == "Let me see."
    assert [item["status"] for item in response["output"]] == ["completed"] * 3
    calls = [(call["type"], call["call_id"], call["name"], call["arguments"]) for call in (first, second)]
    assert calls == [("function_call", "call_a", "f", '{"x":1}'), ("function_call", "call_b", "g", "{}")]
    assert response["status"] == "completed"


async def test_calls_are_streamed_item_by_item() -> None:
    """An item ends before the next one begins; its arguments come as the model writes them."""
    found = await events(await respond(calling(), tools=TOOLS, stream=True))
    kinds = [event["type"].removeprefix("response.") for event in found]
    assert kinds[2:-1] == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [event["output_index"] for event in found if "output_index" in event] == [0] * 6 + [1] * 5 + [2] * 4
    added, *deltas, done, ended = found[8:13]
    assert (added["item"]["status"], added["item"]["arguments"]) == ("in_progress", "")
    assert "".join(delta["delta"] for delta in deltas) == done["arguments"] == ended["item"]["arguments"] == '{"x":1}'
    assert {event["item_id"] for event in [*deltas, done]} == {added["item"]["id"]}
    ends = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert found[-1]["response"]["output"] == ends


async def test_an_answer_that_is_only_a_call_has_no_message() -> None:
    """Cut off in its arguments, the call is what is incomplete."""
    calls = '[{"index": 0, "id": "call_a", "name": "f", "arguments": "{\\"x\\""}]'
    response = valid(whole(await respond(Writer(chunk("", "length", calls=calls)), tools=TOOLS)))
    [call] = response["output"]
    assert (call["type"], call["status"], call["arguments"]) == ("function_call", "incomplete", '{"x"')
    assert response["status"] == "incomplete"


async def test_a_call_is_answered_in_the_next_request(tmp_path: Path) -> None:
    """The model gets its own message with the calls, and the results, as chat completions would give them."""
    store = new_store(str(tmp_path / "keys.db"))
    first = whole(await respond(calling(), store, tools=TOOLS))
    results = [{"type": "function_call_output", "call_id": f"call_{i}", "output": i} for i in "ab"]
    writer = Writer()
    await respond(writer, store, input=results, tools=TOOLS, previous_response_id=first["id"])
    assert messages(writer) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "a", "tool_call_id": "call_a"},
        {"role": "tool", "content": "b", "tool_call_id": "call_b"},
    ]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [tool("a/b")]}, "tools[0].name"),
        ({"tools": [tool(f"t{i}") for i in range(129)]}, "tools"),
        ({"tools": [tool("f"), tool("f")]}, "tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "h"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"input": [{"type": "function_call_output", "call_id": "", "output": "x"}]}, "input[0]"),
    ],
)
async def test_what_has_the_wrong_shape_is_refused(members: dict[str, Any], param: str) -> None:
    """With 400, naming the member; nothing reaches the model."""
    writer = Writer()
    with pytest.raises(PenstockError) as caught:
        await respond(writer, **members)
    assert (caught.value.status, caught.value.extra.get("field"), writer.inferred) == (400, param, [])


@pytest.mark.parametrize("depth", [700, 900, 980, 1000, 1010])
async def test_a_schema_of_any_depth_is_repeated_or_refused(depth: int) -> None:
    """What can be read can be answered, and nested once more in an event."""
    schema = orjson.Fragment("[" * depth + "]" * depth)
    try:
        reply = await respond(Writer(), tools=[tool("f") | {"parameters": schema}])
    except PenstockError as err:
        assert err.code == "bad-json"
    else:
        assert isinstance(reply.body, bytes)
        assert b"[" * depth in reply.body
