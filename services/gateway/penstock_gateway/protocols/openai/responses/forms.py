"""What bounds the form of a response: tools and the format of its text, as requests have it and responses repeat it.

They say the same as those of ``/v1/chat/completions`` (``chat_members``) with fewer levels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock_common import chat_members
from penstock_common.chat_members import JsonObjectFormat, Name, TextFormat

_NULL = msgspec.Raw(b"null")


class FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    """A function that a model may call; ``parameters`` is the JSON Schema of its arguments."""

    name: Name
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    strict: bool | None = None


class FunctionChoice(msgspec.Struct, tag_field="type", tag="function"):
    """The one function that the response has to call."""

    name: Name


class JsonSchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """JSON that fits a schema."""

    name: Name
    schema: msgspec.Raw
    description: str | None = None
    strict: bool | None = None


Tools = Annotated[list[FunctionTool], msgspec.Meta(max_length=128)]
ToolChoice = Literal["none", "auto", "required"] | FunctionChoice
TextFormats = TextFormat | JsonObjectFormat | JsonSchemaFormat


def chat_tool(tool: FunctionTool) -> chat_members.Tool:
    function = chat_members.Function(tool.name, tool.description, strict=tool.strict)
    if bytes(tool.parameters) != b"null":
        function.parameters = tool.parameters
    return chat_members.Tool(function)


def chat_tool_choice(choice: ToolChoice | None) -> chat_members.ToolChoice | None:
    if isinstance(choice, FunctionChoice):
        return chat_members.NamedTool(chat_members.FunctionName(choice.name))
    return choice


def chat_format(text_format: TextFormats | None) -> chat_members.ResponseFormat | None:
    if isinstance(text_format, JsonSchemaFormat):
        schema = chat_members.JsonSchema(
            text_format.name, text_format.schema, text_format.description, text_format.strict
        )
        return chat_members.JsonSchemaFormat(schema)
    return text_format
