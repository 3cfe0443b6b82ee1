"""``POST /v1/responses``: what the model gets, and what clients read."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest

from penstock_common.errors import PenstockError
from tests.unit.gateway.protocols.openai.responses.asking import events, messages, respond, valid
from tests.unit.gateway.protocols.openai.test_chat import INPUTS, TOKEN, Silent, Writer, chunk, whole

CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Rome"}'}


async def test_a_whole_response_has_all_that_the_model_said() -> None:
    """In a message of one text, with what it cost."""
    writer = Writer()
    response = valid(whole(await respond(writer)))
    assert (response["object"], response["status"], response["model"]) == ("response", "completed", "chat")
    [message] = response["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    assert message["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (3, 2, 5)
    assert response["completed_at"] >= response["created_at"]
    assert writer.open == 0


async def test_the_events_of_a_stream_come_in_order() -> None:
    """From the created response to the completed one, which is the whole answer; each has the next number."""
    found = await events(await respond(Writer(), stream=True))
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    for number, event in enumerate(found):
        assert event["sequence_number"] == number
    created, added, last = found[0]["response"], found[2]["item"], found[-1]["response"]
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert (added["status"], added["content"]) == ("in_progress", [])
    valid(created), valid(last)
    deltas = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert deltas == found[6]["text"] == found[7]["part"]["text"] == "Hello"
    assert last["output"] == [found[8]["item"]]
    assert {event["item_id"] for event in found if "item_id" in event} == {added["id"]}
    assert (last["id"], last["status"]) == (created["id"], "completed")


async def test_a_streamed_response_is_the_whole_one() -> None:
    """But for ids and times."""
    whole_one = whole(await respond(Writer()))
    streamed = (await events(await respond(Writer(), stream=True)))[-1]["response"]
    for response in (whole_one, streamed):
        for name in ("id", "created_at", "completed_at"):
            del response[name]
        del response["output"][0]["id"]
    assert streamed == whole_one


@pytest.mark.parametrize("stream", [False, True])
async def test_a_text_that_was_cut_off_is_incomplete(stream: bool) -> None:
    """With the reason, in the message too; the last event says so."""
    writer = Writer(chunk("Hel", "length"))
    reply = await respond(writer, stream=stream, max_output_tokens=1)
    response = (await events(reply))[-1]["response"] if stream else whole(reply)
    valid(response)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["completed_at"] is None
    assert response["output"][0]["status"] == "incomplete"
    assert np.frombuffer(writer.given("max_tokens"), "<i4") == [1]


async def test_the_model_gets_the_conversation() -> None:
    """Instructions first, then the messages in their order, whatever form their contents have."""
    writer = Writer()
    said = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        {"role": "user", "content": "c"},
    ]
    await respond(writer, input=said, instructions="Be brief.", temperature=0.5, seed=7, top_p=0.9)
    assert messages(writer) == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert np.frombuffer(writer.given("temperature"), "<f4") == [0.5]
    assert np.frombuffer(writer.given("seed"), "<i8") == [7]
    assert writer.given("max_tokens") == b""


async def test_calls_of_functions_reach_the_model_with_their_results() -> None:
    """As the chat template knows them: calls that follow each other are one message."""
    writer = Writer()
    second = CALL | {"call_id": "c2", "arguments": "{}"}
    results = [
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ]
    await respond(writer, input=[{"role": "user", "content": "Hi"}, CALL, second, *results])
    asked, called, *answered = messages(writer)
    assert asked["role"] == "user"
    assert (called["role"], called["content"]) == ("assistant", "")
    assert [call["id"] for call in called["tool_calls"]] == ["c1", "c2"]
    assert called["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
    }
    assert answered == [
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "tool", "content": "rain", "tool_call_id": "c2"},
    ]


async def test_logprobs_are_there_if_they_are_asked_for() -> None:
    """By ``include`` or by a number of alternatives; in the deltas and in the whole text."""
    logprobs = orjson.dumps([TOKEN]).decode()
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    expected = [token | {"top_logprobs": [token]}]
    for asked in ({"include": ["message.output_text.logprobs"]}, {"top_logprobs": 2}):
        writer = Writer(chunk("é", "stop", logprobs))
        found = await events(await respond(writer, stream=True, **asked))
        assert found[4]["logprobs"] == found[5]["logprobs"] == expected
        assert valid(found[-1]["response"])["output"][0]["content"][0]["logprobs"] == expected
        assert np.frombuffer(writer.given("logprobs"), "<i4") == [asked.get("top_logprobs", 0)]


IMAGE = {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, IMAGE]}, "input[1].content[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0]"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"presence_penalty": "much"}, "presence_penalty"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 2**63}, "max_output_tokens"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"user": "u" * 513}, "user"),
        ({"model": "m" * 257}, "model"),
    ],
)
async def test_what_is_not_carried_out_is_refused(members: dict[str, Any], param: str) -> None:
    """With 400, naming the member; nothing reaches the model."""
    writer = Writer()
    with pytest.raises(PenstockError) as caught:
        await respond(writer, **members)
    assert (caught.value.status, caught.value.extra.get("field"), writer.inferred) == (400, param, [])
    assert len(caught.value.detail) < 300


async def test_what_changes_nothing_is_accepted() -> None:
    """Neutral values, and members that only describe the request, which the response repeats."""
    neutral: dict[str, Any] = {"tools": [], "tool_choice": "auto", "truncation": "disabled", "background": False}
    neutral |= {"text": {"format": {"type": "text"}, "verbosity": "medium"}, "conversation": None, "store": False}
    neutral |= {"reasoning": {"effort": None, "summary": None}, "service_tier": "flex", "stream_options": None}
    labels: dict[str, Any] = {"user": "ann", "safety_identifier": "a1", "prompt_cache_key": "k", "metadata": {"a": "b"}}
    labels |= {"parallel_tool_calls": False, "max_tool_calls": 3, "instructions": "Be brief."}
    response = valid(whole(await respond(Writer(), **neutral, **labels)))
    assert {name: response[name] for name in labels} == labels
    assert response["service_tier"] == "default"


async def test_the_response_says_what_the_model_was_given() -> None:
    """The sampling of the request, or the model's own default, or 1 if nobody says."""
    fields = [f for f in INPUTS if f.name != "top_p"]
    response = whole(await respond(Writer(inputs=fields), temperature=0.25))
    assert (response["temperature"], response["top_p"]) == (0.25, 1.0)
    [top_p] = [f for f in INPUTS if f.name == "top_p"]
    with_default = type(top_p)("top_p", top_p.kind, top_p.datatype, required=False, default=0.9)
    assert whole(await respond(Writer(inputs=[*fields, with_default])))["top_p"] == 0.9


async def test_an_error_on_the_way_ends_the_stream() -> None:
    """The response has failed, and an error in the forms of both specifications is the last event, without an end."""
    broken = PenstockError(503, "model-restarting", "The model restarts.")
    reply = await respond(Writer(chunk("Hel"), broken), stream=True)
    *_, failed, error = await events(reply)
    assert failed["type"] == "response.failed"
    assert valid(failed["response"])["error"] == {"code": "server_error", "message": "The model restarts."}
    assert (error["type"], error["sequence_number"]) == ("error", failed["sequence_number"] + 1)
    assert (error["code"], error["message"]) == ("model-restarting", "The model restarts.")
    assert error["error"]["type"] == "server_error"
    assert reply.failure is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_text_is_an_ordinary_refusal(stream: bool) -> None:
    """Streamed or not, the client sees its status."""
    broken = PenstockError(422, "invalid-input", "max_tokens is 100000.")
    with pytest.raises(PenstockError, match="max_tokens is 100000"):
        await respond(Writer(broken), stream=stream)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_given_up_frees_its_stream(stream: bool) -> None:
    """Whole or in events, nothing is left open."""
    writer = Silent()
    request = asyncio.ensure_future(respond(writer, stream=stream))
    while not writer.open:
        await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert writer.open == 0


async def test_a_client_that_leaves_frees_its_stream() -> None:
    """Closing the answer closes the model's stream."""
    writer = Writer()
    reply = await respond(writer, stream=True)
    assert not isinstance(reply.body, bytes)
    await anext(reply.body)
    assert writer.open == 1
    await reply.body.aclose()
    assert writer.open == 0
