"""The request of ``/v1/chat/completions``: what it may say, and what of it the model gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from penstock_gateway.protocols.openai.choices import ChoicesRequest
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.generation import MESSAGES, refuse_what_changes_meaning, sampling_inputs


class Part(msgspec.Struct, omit_defaults=True):
    """A part of a message's content."""

    type: str
    text: str = ""


class Message(msgspec.Struct, omit_defaults=True):
    """A message of a conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatRequest(ChoicesRequest, kw_only=True):
    """A body of ``/v1/chat/completions``."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    # Members that change the answer, and that nothing here carries out.
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    modalities: list[str] | None = None
    web_search_options: Any = None


_NEUTRAL: dict[str, Any] = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "tools": [],
    "tool_choice": "none",
    "functions": [],
    "function_call": "none",
    "audio": None,
    "modalities": ["text"],
    "web_search_options": None,
    "response_format": {"type": "text"},
}


def chat_inputs(request: ChatRequest) -> dict[str, Any]:
    """The model's inputs for a request.

    Raises:
        PenstockError: 400 ``invalid-request`` or ``unsupported-parameter``, naming the member.
    """
    refuse_what_changes_meaning({name: getattr(request, name) for name in _NEUTRAL}, _NEUTRAL)
    inputs: dict[str, Any] = {MESSAGES: _messages(request.messages)} | sampling_inputs(request)
    limit = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    if limit is not None:
        inputs["max_tokens"] = limit
    if request.logprobs:
        inputs["logprobs"] = request.top_logprobs or 0
    elif request.top_logprobs:
        raise bad_request("top_logprobs: set logprobs to true as well.", "top_logprobs")
    return inputs


def _messages(messages: Sequence[Message]) -> str:
    """The conversation as JSON for the model's chat template, each content one text."""
    plain = []
    for i, message in enumerate(messages):
        entry = msgspec.to_builtins(message)
        if isinstance(message.content, list):
            for part in message.content:
                if part.type not in ("text", "input_text"):
                    text = f"messages[{i}].content: parts of type '{part.type[:40]}' are not understood; send text."
                    raise bad_request(text, f"messages[{i}].content")
            entry["content"] = "\n".join(part.text for part in message.content)
        elif message.content is None:
            if not message.tool_calls:
                raise bad_request(f"messages[{i}].content: is missing; send a text.", f"messages[{i}].content")
            entry["content"] = ""
        if message.role == "developer":
            entry["role"] = "system"
        plain.append(entry)
    return json.dumps(plain, ensure_ascii=False)
