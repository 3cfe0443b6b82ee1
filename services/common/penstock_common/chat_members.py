"""Members of OpenAI's chat requests that bound an answer: its format, the tools that it may call, which of them.

The gateway checks them, and a pod carries them out.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

#: Of a schema, and of a function.
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class TextFormat(msgspec.Struct, tag="text"):
    """Any text."""


class JsonObjectFormat(msgspec.Struct, tag="json_object"):
    """Any JSON object."""


class JsonSchema(msgspec.Struct, omit_defaults=True):
    """A named JSON Schema.

    Attributes:
        strict: it has to be one that can be kept to the letter; else keywords that cannot be kept are ignored.
    """

    name: Name
    schema: msgspec.Raw
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(msgspec.Struct, tag="json_schema"):
    """JSON that fits a schema."""

    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class Function(msgspec.Struct, omit_defaults=True):
    """A function that a model may call.

    Attributes:
        parameters: the JSON Schema of its arguments; empty if it has none.
        strict: see ``JsonSchema``.
    """

    name: Name
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class Tool(msgspec.Struct, tag="function"):
    """A tool."""

    function: Function


Tools = Annotated[list[Tool], msgspec.Meta(max_length=128)]


class FunctionName(msgspec.Struct):
    """A function by its name."""

    name: Name


class NamedTool(msgspec.Struct, tag="function"):
    """The one tool that the answer has to call."""

    function: FunctionName


ToolChoice = Literal["none", "auto", "required"] | NamedTool
