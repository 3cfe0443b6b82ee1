"""The request of ``/v1/chat/completions``: what it may say, and what of it the model gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from penstock_common.chat_members import NamedTool, ResponseFormat, TextFormat, ToolChoice, Tools
from penstock_gateway.protocols.openai.choices import ChoicesRequest
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.generation import (
    MESSAGES,
    ModelInputs,
    refuse_what_changes_meaning,
    sampling_inputs,
)
from penstock_gateway.protocols.openai.pictures import Picture, check_picture_url
from penstock_gateway.protocols.openai.request import Int64


class ImageUrl(msgspec.Struct, gc=False):
    """A picture; what else a client says of it, such as its ``detail``, is for services that have a choice."""

    url: str


class Part(msgspec.Struct, omit_defaults=True, gc=False):
    """A part of a message's content."""

    type: str
    text: str = ""
    image_url: ImageUrl | None = None


class CalledFunction(msgspec.Struct, gc=False):
    """A function that was called, with its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, tag="function", gc=False):
    """A call of a tool, in a message of the model."""

    id: str
    function: CalledFunction


class Message(msgspec.Struct, omit_defaults=True, gc=False):
    """A message of a conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class ChatRequest(ChoicesRequest, kw_only=True):
    """A body of ``/v1/chat/completions``."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Int64 | None = None
    max_completion_tokens: Int64 | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    # Members that change the answer, and that nothing here carries out.
    functions: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()
    modalities: msgspec.Raw = msgspec.Raw()
    moderation: msgspec.Raw = msgspec.Raw()
    reasoning_effort: msgspec.Raw = msgspec.Raw()
    verbosity: msgspec.Raw = msgspec.Raw()
    web_search_options: msgspec.Raw = msgspec.Raw()


#: Characters of a list of names that an error has.
_SHOWN = 200

_NEUTRAL: dict[str, Any] = {
    "functions": [],
    "function_call": "none",
    "audio": None,
    "modalities": ["text"],
    "moderation": None,
    "reasoning_effort": "none",
    "verbosity": "medium",
    "web_search_options": None,
}


def chat_inputs(request: ChatRequest) -> ModelInputs:
    """The model's inputs for a request.

    Raises:
        PenstockError: 400 ``invalid-request`` or ``unsupported-parameter``, naming the member.
    """
    refuse_what_changes_meaning(request, _NEUTRAL)
    messages, pictures = _messages(request.messages)
    inputs: dict[str, Any] = {MESSAGES: messages} | sampling_inputs(request) | _form_inputs(request)
    limit = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    if limit is not None:
        inputs["max_tokens"] = limit
    if request.logprobs:
        inputs["logprobs"] = request.top_logprobs or 0
    elif request.top_logprobs:
        raise bad_request("top_logprobs: set logprobs to true as well.", "top_logprobs")
    return ModelInputs(inputs, pictures)


def _form_inputs(request: ChatRequest) -> dict[str, Any]:
    """The inputs that bound the form of an answer, with those members alone that change it."""
    inputs: dict[str, Any] = {}
    if request.response_format is not None and not isinstance(request.response_format, TextFormat):
        inputs["response_format"] = _json(request.response_format)
    choice = request.tool_choice
    if choice == "none" or not request.tools:
        if choice not in (None, "none", "auto"):
            raise bad_request("tool_choice: asks for a call, but there are no tools; send some.", "tool_choice")
        return inputs
    names = [tool.function.name for tool in request.tools]
    if len(set(names)) < len(names):
        raise bad_request("tools: two of them have the same name.", "tools")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        text = f"tool_choice: there is no tool '{choice.function.name}'; the tools are {', '.join(names)[:_SHOWN]}."
        raise bad_request(text, "tool_choice")
    inputs["tools"] = _json(request.tools)
    if choice not in (None, "auto"):
        inputs["tool_choice"] = _json(choice)
    if request.parallel_tool_calls is False:
        inputs["parallel_tool_calls"] = False
    return inputs


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _messages(messages: Sequence[Message]) -> tuple[str, list[Picture]]:
    """The conversation as JSON for the model's chat template, and the pictures in it.

    A content is one text, or a list of parts if it has pictures.
    """
    pictures: list[Picture] = []
    for i, message in enumerate(messages):
        if isinstance(message.content, list):
            before = len(pictures)
            pictures += _pictures(message.content, f"messages[{i}].content")
            if len(pictures) == before:
                message.content = "\n".join(part.text for part in message.content)
            else:
                message.content = [_model_part(p) for p in message.content if p.text or p.type == "image_url"]
        elif message.content is None:
            if not message.tool_calls:
                raise bad_request(f"messages[{i}].content: is missing; send a text.", f"messages[{i}].content")
            message.content = ""
        if message.role == "tool" and not message.tool_call_id:
            where = f"messages[{i}].tool_call_id"
            raise bad_request(f"{where}: is missing; say which call the message answers.", where)
        if message.role == "developer":
            message.role = "system"
    return msgspec.json.encode(messages).decode(), pictures


def _pictures(parts: Sequence[Part], place: str) -> list[Picture]:
    pictures = []
    for i, part in enumerate(parts):
        if part.type == "image_url":
            where = f"{place}[{i}]"
            if part.image_url is None:
                raise bad_request(f"{where}.image_url: is missing; send the url of a picture.", where)
            check_picture_url(part.image_url.url, where)
            pictures.append(Picture(where, part.type, part.image_url.url))
        elif part.type not in ("text", "input_text"):
            text = f"{place}: parts of type '{part.type[:40]}' are not understood; send text or image_url."
            raise bad_request(text, place)
    return pictures


def _model_part(part: Part) -> Part:
    """A part as chat templates have it; a picture is in an input of its own."""
    return Part("image") if part.type == "image_url" else Part("text", part.text)
