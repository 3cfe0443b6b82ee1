"""The cases of Open Responses' compliance tests (openresponses.org/compliance): its types for all that is answered."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_common.errors import PenstockError
from tests.unit.gateway.protocols.openai.responses.asking import events, respond, valid
from tests.unit.gateway.protocols.openai.test_chat import Writer, whole
from tests.unit.gateway.protocols.openai.test_chat_forms import calling


def says(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


WEATHER = {
    "type": "function",
    "name": "f",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CASES: dict[str, dict[str, Any]] = {
    "basic-response": {"input": [says("user", "Greet me in three words.")]},
    "system-prompt": {"input": [says("system", "You are a pirate."), says("user", "Greet me.")]},
    "multi-turn": {
        "input": [says("user", "I am Alice."), says("assistant", "Hello Alice!"), says("user", "Who am I?")],
    },
    "tool-calling": {"input": [says("user", "How is the weather in Rome?")], "tools": [WEATHER]},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
async def test_a_case_passes(case: str, stream: bool) -> None:
    """The response has an output and is completed; its events too are what the specification allows."""
    calls = case == "tool-calling"
    reply = await respond(calling() if calls else Writer(), stream=stream, **CASES[case])
    if stream:
        found = await events(reply)
        kinds = {event["type"] for event in found}
        of_calls = {"response.function_call_arguments.delta", "response.function_call_arguments.done"}
        assert of_calls <= kinds if calls else "response.output_text.delta" in kinds
        response = found[-1]["response"]
    else:
        response = whole(reply)
    valid(response)
    assert response["status"] == "completed"
    assert ("function_call" if calls else "message") in {item["type"] for item in response["output"]}


async def test_an_image_is_refused_by_name() -> None:
    """The case ``image-input`` needs a model that sees."""
    content = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": "data:image/png,x"}]
    with pytest.raises(PenstockError, match="parts of type 'input_image' are not understood") as caught:
        await respond(Writer(), input=[says("user", content)])
    assert caught.value.status == 400
