"""The HTTP cases of Open Responses' compliance tests (openresponses.org/compliance), asked of a whole installation.

The texts are our own and the model has learnt its answers by heart: the cases check the protocol, not the model.
Those of WebSockets and ``/v1/responses/compact`` are left out, as the gateway has neither.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.models.serving import Serving
from tests.models.taught_model import Lesson, save_taught_model
from tests.unit.gateway.protocols.openai.responses.asking import valid, valid_event

#: Its grammar writes the arguments; the model's part is to call it.
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
UNSEEN = {
    "image-input": {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
    "file-input": {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjEK"},
}


def says(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


GREETING = [says("user", "Greet me in three words.")]
PIRATE = [says("system", "You are a pirate."), says("user", "Greet me.")]
ALICE = [says("user", "I am Alice."), says("assistant", "Hello Alice!"), says("user", "Who am I?")]
ROME = [says("user", "How is the weather in Rome?")]
CALL = {"name": "weather", "arguments": {"city": "Rome"}}
LESSONS = [
    Lesson(GREETING, "Hello, dear friend!"),
    Lesson(PIRATE, "Ahoy, 東京!"),
    Lesson(ALICE, "Alice"),
    Lesson(ROME, f"<tool_call>{json.dumps(CALL)}</tool_call>", [{"type": "function", "function": WEATHER}]),
]
#: By the case's name, the request and the text that answers it.
TEXTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "basic-response": (GREETING, "Hello, dear friend!"),
    "system-prompt": (PIRATE, "Ahoy, 東京!"),
    "multi-turn": (ALICE, "Alice"),
    "assistant-phase": ([ALICE[0], ALICE[1] | {"phase": "final_answer"}, ALICE[2]], "Alice"),
}


@pytest.fixture(scope="module")
def taught(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> httpx.Client:
    """A client of the installation, which then has the model ``taught``."""
    artifact = tmp_path_factory.mktemp("taught")
    serving.serve("taught", artifact, save_taught_model(artifact, LESSONS))
    return serving.client


def respond(client: httpx.Client, **members: Any) -> dict[str, Any]:
    """A whole response, which is completed and as both specifications allow it."""
    answer = client.post("/v1/responses", json={"model": "taught", **members})
    assert answer.status_code == 200, answer.text
    response = valid(answer.json())
    assert response["status"] == "completed"
    return response


def events(client: httpx.Client, **members: Any) -> list[dict[str, Any]]:
    """The events of a response, each as both specifications allow it and under its name; the last has the response."""
    answer = client.post("/v1/responses", json={"model": "taught", "stream": True, **members})
    assert answer.headers["content-type"] == "text/event-stream"
    *blocks, done = answer.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    found = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        valid_event(found[-1])
        assert (name, number) == (f"event: {found[-1]['type']}", found[-1]["sequence_number"])
    assert found[-1]["type"] == "response.completed"
    valid(found[-1]["response"])
    return found


def conversation(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "message", **message} for message in messages]


@pytest.mark.parametrize("case", TEXTS)
def test_a_text(taught: httpx.Client, case: str) -> None:
    """One message, with the text that the model knows."""
    messages, text = TEXTS[case]
    [message] = respond(taught, input=conversation(messages))["output"]
    assert (message["type"], message["role"], message["content"][0]["text"]) == ("message", "assistant", text)


def test_a_streamed_text(taught: httpx.Client) -> None:
    """Case ``streaming-response``: all events in their order; their texts are that of the response."""
    found = events(taught, input=conversation(PIRATE))
    kinds = [event["type"].removeprefix("response.") for event in found]
    assert list(dict.fromkeys(kinds)) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta") == "Ahoy, 東京!"
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "Ahoy, 東京!"


def test_a_call_of_a_tool(taught: httpx.Client) -> None:
    """Cases ``tool-calling``, whole and streamed: the model chooses to call, and its arguments come piece by piece."""
    asked = {"input": conversation(ROME), "tools": [{"type": "function", **WEATHER}]}
    [call] = respond(taught, **asked)["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", *CALL.values())
    found = events(taught, **asked)
    pieces = [event["delta"] for event in found if event["type"] == "response.function_call_arguments.delta"]
    ends = [event["arguments"] for event in found if event["type"] == "response.function_call_arguments.done"]
    assert ends == ["".join(pieces)] == [call["arguments"]]
    items = [event["item"]["type"] for event in found if event["type"].startswith("response.output_item.")]
    assert items == ["function_call"] * 2


def test_the_answer_of_a_tool_goes_on(taught: httpx.Client) -> None:
    """Cases ``function-call-roundtrip`` and ``previous-response-id``: with a call that was asked for, then its result."""
    tools = [{"type": "function", **WEATHER}]
    first = respond(taught, input="Rome?", tools=tools, tool_choice={"type": "function", "name": "weather"})
    [call] = first["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "21 degrees"}
    # It has not learnt how this conversation ends: its answer is cut.
    members = {"previous_response_id": first["id"], "input": [result], "tools": tools, "max_output_tokens": 16}
    second = valid(taught.post("/v1/responses", json={"model": "taught", **members}).json())
    assert second["previous_response_id"] == first["id"]
    listed = taught.get(f"/v1/responses/{second['id']}/input_items", params={"order": "asc"}).json()["data"]
    assert [item["type"] for item in listed] == ["message", "function_call", "function_call_output"]


@pytest.mark.parametrize("case", UNSEEN)
def test_what_the_model_cannot_see_is_refused(taught: httpx.Client, case: str) -> None:
    """The case needs a model that sees; with others it is 400 in OpenAI's form, which names the part."""
    content = [{"type": "input_text", "text": "What is it?"}, UNSEEN[case]]
    answer = taught.post("/v1/responses", json={"model": "taught", "input": conversation([says("user", content)])})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == "input[0].content[1]"
    assert f"'{UNSEEN[case]['type']}'" in error["message"]
