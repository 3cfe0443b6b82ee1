"""What a client asks of an answer's form, ``response_format`` and tools, as a grammar of ``llguidance``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from penstock_common.chat_members import (
    JsonSchemaFormat,
    NamedTool,
    ResponseFormat,
    TextFormat,
    Tool,
    ToolChoice,
    Tools,
)
from penstock_inference.runners.answer_schema import read_schema, schema_rule
from penstock_inference.runners.call_forms import CallForm, call_form
from penstock_inference.runners.call_parameters import text_parameters
from penstock_inference.runners.chat_template import invalid
from penstock_inference.runners.tool_calls import call_rules, tool_schema

T = TypeVar("T")

_FORMATS: msgspec.json.Decoder[ResponseFormat] = msgspec.json.Decoder(ResponseFormat)
_CHOICES: msgspec.json.Decoder[ToolChoice] = msgspec.json.Decoder(ToolChoice)
_TOOLS: msgspec.json.Decoder[list[Tool]] = msgspec.json.Decoder(Tools)


@dataclass(frozen=True, slots=True)
class AnswerGrammar:
    """The form of an answer.

    Attributes:
        text: in the syntax of ``llguidance``.
        source: the input that it comes from.
        calls: how calls of tools are written; None if it has none.
        texts: of each tool, the parameters that are written as they are, if the form is not JSON.
    """

    text: str
    source: str
    calls: CallForm | None
    texts: Mapping[str, frozenset[str]] = field(default_factory=dict)


def read_answer_grammar(row: Mapping[str, Any], tokenizer: Any) -> AnswerGrammar | None:
    """Return the grammar that the inputs of a row ask for; None if any text will do.

    Args:
        row: ``response_format``, ``tools`` and ``tool_choice`` as JSON, ``parallel_tool_calls``; each may be absent.
        tokenizer: of ``transformers``.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the input.
    """
    format_rule = _format_rule(_decoded(row, "response_format", _FORMATS) or TextFormat())
    choice = _decoded(row, "tool_choice", _CHOICES) or "auto"
    tools = [] if choice == "none" else _chosen(_decoded(row, "tools", _TOOLS) or [], choice)
    if not tools:
        if format_rule is None:
            return None
        return AnswerGrammar(f"start: answer\nanswer: {format_rule}", "response_format", calls=None)
    form = call_form(tokenizer)
    if isinstance(form, str):
        raise invalid(f"tools: {form}.")
    may_be_text = choice == "auto" and format_rule is None
    several = bool(row.get("parallel_tool_calls", True))
    rules = call_rules(form, form.special_tokens(tokenizer), tools, several=several, lead=may_be_text)
    if choice != "auto":
        rules += ["start: calls"]
    elif format_rule is None:
        rules += ["start: calls | TEXT"]
    elif not form.opening:
        raise invalid(
            "response_format: this model begins a call as it begins an answer in JSON; send it without tools, or with a "
            "tool_choice other than auto."
        )
    else:
        rules += ["start: calls | answer", f"answer: {format_rule}"]
    texts = {}
    if form.parameters is not None:
        texts = {tool.function.name: text_parameters(tool_schema("tools", tool)) for tool in tools}
    return AnswerGrammar("\n".join(rules), "tools", form, texts)


def _format_rule(format_: ResponseFormat) -> str | None:
    match format_:
        case TextFormat():
            return None
        case JsonSchemaFormat(asked):
            where = "response_format.json_schema.schema"
            return schema_rule(where, read_schema(where, bytes(asked.schema)), strict=bool(asked.strict))
        case _:
            return schema_rule("response_format", {"type": "object"}, strict=False)


def _chosen(tools: list[Tool], choice: str | NamedTool) -> list[Tool]:
    """Return the tools that an answer may call."""
    if choice == "auto":
        return tools
    if not tools:
        raise invalid("tool_choice: asks for a call, but there are no tools; send some.")
    if not isinstance(choice, NamedTool):
        return tools
    name = choice.function.name
    chosen = [tool for tool in tools if tool.function.name == name]
    if not chosen:
        raise invalid(f"tool_choice: there is no tool {name!r}; it is one of the tools that are sent.")
    return chosen[:1]


def _decoded(row: Mapping[str, Any], name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    if name not in row:
        return None
    try:
        return decoder.decode(row[name])
    except (msgspec.DecodeError, RecursionError) as err:
        raise invalid(f"{name}: is not what OpenAI's API has: {err}.") from None
