"""The items that a conversation is made of: messages, calls of functions and their results.

A request's items become these, which are stored and shown as they are, and which become the model's messages.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.protocols.openai import chat_request
from penstock_gateway.protocols.openai.chat_request import CalledFunction, ToolCall
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.pictures import check_picture_url

Role = Literal["user", "assistant", "system", "developer"]

_TEXT_PARTS = ("input_text", "output_text", "text")


class SentPart(msgspec.Struct, gc=False):
    """A part of a text, as a client sends it."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] = "auto"


class SentItem(msgspec.Struct):
    """An item as a client sends it; what it must have depends on its type."""

    type: str = "message"
    role: Role | None = None
    content: str | list[SentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[SentPart] | None = None


class InputText(msgspec.Struct, tag_field="type", tag="input_text"):
    text: str


class InputImage(msgspec.Struct, tag_field="type", tag="input_image"):
    """A picture, as a ``data:`` URL. Every ``detail`` is seen alike."""

    image_url: str
    detail: Literal["auto", "low", "high"] = "auto"


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    """A text of the model. Nothing here annotates one."""

    text: str
    annotations: list[str] = []
    logprobs: list[dict[str, Any]] = []


class Message(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    role: Role
    content: list[InputText | InputImage | OutputText]
    status: str = "completed"


class FunctionCall(msgspec.Struct, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str
    status: str = "completed"


class FunctionCallOutput(msgspec.Struct, tag_field="type", tag="function_call_output"):
    id: str
    call_id: str
    output: str
    status: str = "completed"


Item = Message | FunctionCall | FunctionCallOutput


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def input_items(sent: str | Sequence[SentItem]) -> list[Item]:
    """The items of a request's ``input``, each with a new id.

    Raises:
        PenstockError: 400 ``invalid-request`` naming the item.
    """
    if isinstance(sent, str):
        return [Message(new_id("msg"), "user", [InputText(sent)])]
    return [_item(item, f"input[{i}]") for i, item in enumerate(sent)]


def chat_messages(items: Iterable[Item]) -> list[chat_request.Message]:
    """The messages of the model's conversation; calls belong to the message of the model that they follow."""
    messages: list[chat_request.Message] = []
    for item in items:
        if isinstance(item, Message):
            messages.append(chat_request.Message(item.role, [_chat_part(part) for part in item.content]))
        elif isinstance(item, FunctionCallOutput):
            messages.append(chat_request.Message("tool", item.output, tool_call_id=item.call_id))
        else:
            if not messages or messages[-1].role != "assistant":
                messages.append(chat_request.Message("assistant"))
            calling = messages[-1]
            calling.tool_calls = calling.tool_calls or []
            calling.tool_calls.append(ToolCall(item.call_id, CalledFunction(item.name, item.arguments)))
    return messages


def picture_places(items: Sequence[Item]) -> list[str]:
    """The place of each picture in a request whose ``input`` these items are."""
    return [
        f"input[{i}].content[{j}]"
        for i, item in enumerate(items)
        if isinstance(item, Message)
        for j, part in enumerate(item.content)
        if isinstance(part, InputImage)
    ]


def _item(sent: SentItem, place: str) -> Item:
    match sent.type:
        case "message":
            if sent.role is None or sent.content is None:
                raise bad_request(f"{place}: a message has a role and a content.", place)
            return Message(new_id("msg"), sent.role, _parts(sent.role, sent.content, f"{place}.content"))
        case "function_call":
            if not sent.call_id or not sent.name or sent.arguments is None:
                raise bad_request(f"{place}: a function_call has a call_id, a name and arguments.", place)
            return FunctionCall(new_id("fc"), sent.call_id, sent.name, sent.arguments)
        case "function_call_output":
            if not sent.call_id or sent.output is None:
                raise bad_request(f"{place}: a function_call_output has a call_id and an output.", place)
            return FunctionCallOutput(new_id("fco"), sent.call_id, "\n".join(_texts(sent.output, f"{place}.output")))
    raise _not_understood(place, f"items of type '{sent.type[:40]}'", "message, function_call or function_call_output")


def _parts(role: Role, content: str | list[SentPart], place: str) -> list[InputText | InputImage | OutputText]:
    if role == "assistant":
        return [OutputText(text) for text in _texts(content, place)]
    if isinstance(content, str):
        return [InputText(content)]
    parts: list[InputText | InputImage | OutputText] = []
    for i, part in enumerate(content):
        if part.type == "input_image":
            parts.append(_image(part, f"{place}[{i}]"))
        else:
            parts.append(InputText(_text(part, f"{place}[{i}]", "text or input_image")))
    return parts


def _image(part: SentPart, place: str) -> InputImage:
    if part.image_url is None:
        raise bad_request(f"{place}.image_url: is missing; send a picture as a data: URL.", place)
    check_picture_url(part.image_url, place)
    return InputImage(part.image_url, part.detail)


def _texts(content: str | list[SentPart], place: str) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [_text(part, f"{place}[{i}]", "text") for i, part in enumerate(content)]


def _text(part: SentPart, place: str, instead: str) -> str:
    if part.type == "refusal":
        return part.refusal
    if part.type in _TEXT_PARTS:
        return part.text
    raise _not_understood(place, f"parts of type '{part.type[:40]}'", instead)


def _chat_part(part: InputText | InputImage | OutputText) -> chat_request.Part:
    if isinstance(part, InputImage):
        return chat_request.Part("image_url", image_url=chat_request.ImageUrl(part.image_url))
    return chat_request.Part("text", part.text)


def _not_understood(place: str, what: str, instead: str) -> PenstockError:
    return bad_request(f"{place}: {what} are not understood here; send {instead}.", place)
