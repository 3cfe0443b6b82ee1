"""Messages of a conversation to a prompt, by the chat template in a model's folder."""

from __future__ import annotations

import json
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
    conversation = [_message(f"messages.{i}", message) for i, message in enumerate(_objects("messages", messages))]
    known_tools = None if tools is None else _objects("tools", tools)
    try:
        tokens = tokenizer.apply_chat_template(
            conversation, tools=known_tools, add_generation_prompt=True, return_dict=True
        )
    except Exception as err:  # whatever the template raises for what the client sent
        raise invalid(f"messages: the model's chat template refuses them: {str(err)[:_MOST_TEXT]}") from None
    return list(tokens["input_ids"])


def invalid(detail: str) -> PenstockError:
    return PenstockError(422, "invalid-input", detail)


def _objects(name: str, text: str) -> list[dict[str, Any]]:
    try:
        objects = msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError) as err:
        raise invalid(f"{name}: is not a JSON list of objects: {err}.") from None
    if not objects:
        raise invalid(f"{name}: the list is empty.")
    return objects


def _message(where: str, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as templates take it.

    Its content is one text, the arguments of calls are objects, and what is null is absent: templates ask whether a
    message has calls by whether it has the member. One with calls has a content, if an empty one.
    """
    if not isinstance(message.get("role"), str):
        raise invalid(f"{where}.role: a message says whose it is, such as system, user or assistant.")
    known = {name: value for name, value in message.items() if value is not None}
    content = message.get("content")
    if isinstance(content, list):
        known["content"] = "".join([_part(f"{where}.content.{i}", part) for i, part in enumerate(content)])
    elif content is not None and not isinstance(content, str):
        raise invalid(f"{where}.content: is neither a text nor a list of parts.")
    calls = known.pop("tool_calls", None)
    if calls:
        known["tool_calls"] = [_with_arguments(f"{where}.tool_calls", call) for call in _list(where, calls)]
        known.setdefault("content", "")
    return known


def _part(where: str, part: Any) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise invalid(f"{where}: is not a part of type text; the model reads no other.")
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
