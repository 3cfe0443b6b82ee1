"""Messages of a conversation to a prompt, by the chat template in a model's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from penstock_common.errors import PenstockError

_MOST_TEXT = 300


def chat_prompt(tokenizer: Any, messages: str, tools: str | None) -> list[int]:
    """Return the tokens of a conversation, up to where the model's answer begins.

    Args:
        tokenizer: of ``transformers``.
        messages: a JSON list of messages as OpenAI has them; their parts are texts.
        tools: a JSON list of tools as OpenAI has them.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the field.
    """
    if not tokenizer.chat_template:
        raise invalid("messages: the model has no chat template; send a prompt.")
    conversation = _conversation(messages, _text)
    try:
        tokens = tokenizer.apply_chat_template(
            conversation, tools=read_tools(tools), add_generation_prompt=True, return_dict=True
        )
    except Exception as err:  # whatever the template raises for what the client sent
        raise refused_by_template(err) from None
    return list(tokens["input_ids"])


def conversation_of_parts(messages: str) -> list[dict[str, Any]]:
    """Return the messages of a conversation with a model that sees.

    Args:
        messages: a JSON list of messages as OpenAI has them; their parts are texts, and ``{"type": "image"}``.

    Returns:
        Messages whose contents are lists of parts, as templates of such models take them.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the field.
    """
    return _conversation(messages, _parts)


def read_tools(tools: str | None) -> list[dict[str, Any]] | None:
    """Return tools, which are a JSON list as OpenAI has them.

    Raises:
        PenstockError: 422 ``invalid-input``.
    """
    return None if tools is None else _objects("tools", tools)


def refused_by_template(err: Exception) -> PenstockError:
    return invalid(f"messages: the model's chat template refuses them: {str(err)[:_MOST_TEXT]}")


def invalid(detail: str) -> PenstockError:
    return PenstockError(422, "invalid-input", detail)


def _conversation(messages: str, content: Callable[[str, Any], Any]) -> list[dict[str, Any]]:
    """Return messages as templates take them; ``content`` returns that of one for its place and what was sent."""
    objects = _objects("messages", messages)
    return [_message(f"messages.{i}", message, content) for i, message in enumerate(objects)]


def _objects(name: str, text: str) -> list[dict[str, Any]]:
    try:
        objects = msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError) as err:
        raise invalid(f"{name}: is not a JSON list of objects: {err}.") from None
    if not objects:
        raise invalid(f"{name}: the list is empty.")
    return objects


def _message(where: str, message: dict[str, Any], content: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Return a message as templates take it.

    Its content is what they want, the arguments of calls are objects, and what is null is absent: templates ask
    whether a message has calls by whether it has the member. One with calls has a content, if an empty one.
    """
    if not isinstance(message.get("role"), str):
        raise invalid(f"{where}.role: a message says whose it is, such as system, user or assistant.")
    known = {name: value for name, value in message.items() if value is not None}
    read = content(f"{where}.content", known.get("content"))
    if read is not None:
        known["content"] = read
    calls = known.pop("tool_calls", None)
    if calls:
        known["tool_calls"] = [_with_arguments(f"{where}.tool_calls", call) for call in _list(where, calls)]
        known.setdefault("content", "")
    return known


def _text(where: str, content: Any) -> str | None:
    """Return a content as one text."""
    if content is None or isinstance(content, str):
        return content
    return "".join([_text_part(f"{where}.{i}", part) for i, part in enumerate(_parts_sent(where, content))])


def _parts(where: str, content: Any) -> list[dict[str, Any]]:
    """Return a content as a list of parts, each with what belongs to its type alone."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts: list[dict[str, Any]] = []
    for i, part in enumerate(_parts_sent(where, content)):
        if isinstance(part, dict) and part.get("type") == "image":
            parts.append({"type": "image"})
        else:
            parts.append({"type": "text", "text": _text_part(f"{where}.{i}", part, "text or image")})
    return parts


def _parts_sent(where: str, content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise invalid(f"{where}: is neither a text nor a list of parts.")
    return content


def _text_part(where: str, part: Any, types: str = "text") -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise invalid(f"{where}: is not a part of type {types}; the model reads no other.")
    return str(part["text"])


def _list(where: str, calls: Any) -> list[Any]:
    if not isinstance(calls, list):
        raise invalid(f"{where}.tool_calls: is not a list.")
    return calls


def _with_arguments(where: str, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise invalid(f"{where}: a call has a function with a name and arguments.")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            raise invalid(f"{where}.function.arguments: is not JSON.") from None
    named = {"name": function.get("name")}  # comes first in the JSON that a template writes
    return {**call, "function": {**named, **function, "arguments": arguments}}
