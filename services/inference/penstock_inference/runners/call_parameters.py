"""Arguments of calls that a model writes parameter by parameter, texts as they are and all else as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from penstock_inference.runners.answer_schema import json_rule
from penstock_inference.runners.call_forms import ParameterForm
from penstock_inference.runners.chat_template import invalid

#: Keywords that say something of a text that is not kept here.
_OF_TEXTS = ("pattern", "minLength", "maxLength", "format")
#: Keywords of a schema that its subschemas refer to.
_DEFINITIONS = ("$defs", "definitions")
#: Characters that would end a name.
_NOT_IN_NAMES = "<>\r\n"


def text_parameters(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the properties of a schema, one that ``parameter_rules`` takes, that are written as they are."""
    return frozenset(name for name, value in schema.get("properties", {}).items() if _is_text(value))


def parameter_rules(rule: str, form: ParameterForm, where: str, schema: dict[str, Any], *, strict: bool) -> list[str]:
    """Return the rules of a grammar of ``llguidance`` for arguments, whose properties come in the schema's order.

    Args:
        rule: the name of the first one; names of others begin with it.
        where: the schema is in the request, for errors.

    Raises:
        PenstockError: 422 ``invalid-input`` for a schema that is not one of properties, or cannot be kept.
    """
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise invalid(f"{where}: properties is an object, and required is a list.")
    if not properties and any(keyword in schema for keyword in ("$ref", "anyOf", "oneOf", "allOf")):
        raise invalid(f"{where}: this model's calls have parameters by name; list them in properties.")
    definitions = {keyword: schema[keyword] for keyword in _DEFINITIONS if keyword in schema}
    parts, rules = [], []
    for number, (name, value) in enumerate(properties.items()):
        if any(character in name for character in _NOT_IN_NAMES):
            raise invalid(f"{where}.properties: the name {name[:40]!r} has '<', '>' or a line break; choose another.")
        own = f"{rule}_{number}"
        parts.append(own if name in required else f"{own}?")
        before = json.dumps(f"{form.before_name}{name}{form.before_value}", ensure_ascii=False)
        after = json.dumps(form.after_value)
        if not _is_text(value):
            subschema = {**definitions, **value} if isinstance(value, dict) else value
            rules += [f"{own}: {before} {own}_value {after}", f"{own}_value: {json_rule(subschema, strict=strict)}"]
        elif choices := _choices(value):
            texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in choices)
            rules.append(f"{own}: {before} ({texts}) {after}")
        else:
            if strict and (kept := [keyword for keyword in _OF_TEXTS if keyword in value]):
                raise invalid(f"{where}.properties.{name}.{kept[0]}: cannot be kept with this model; leave it out.")
            rules += [f"{own}: {before} {own}_text", f"{own}_text[lazy]: TEXT {after}"]
    return [f"{rule}: {' '.join(parts) or json.dumps('')}", *rules]


class ParameterReader:
    """Makes a JSON object of parameters, whose text comes in pieces.

    Args:
        end: what follows the last parameter.
        texts: names of parameters that are written as they are.
    """

    def __init__(self, form: ParameterForm, end: str, texts: Collection[str]) -> None:
        self.ended = False
        self._form = form
        self._end = end
        self._texts = texts
        self._count = 0

    def take(self, text: str) -> tuple[int, str]:
        """Return how many characters of the text have been read, and what they are as JSON: whole parameters."""
        written = ""
        at = 0
        while text.startswith(self._form.before_name, at):
            name, found, rest = text[at + len(self._form.before_name) :].partition(self._form.before_value)
            value, ended, after = rest.partition(self._form.after_value)
            if not found or not ended:
                return at, written
            written += f"{', ' if self._count else '{'}{json.dumps(name)}: "
            written += json.dumps(value) if name in self._texts else value
            self._count += 1
            at = len(text) - len(after)
        if text.startswith(self._end, at):
            self.ended = True
            written += "}" if self._count else "{}"
        return at, written


def _is_text(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "string" and "$ref" not in schema


def _choices(schema: Mapping[str, Any]) -> list[str]:
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return [choice for choice in choices if isinstance(choice, str)] if isinstance(choices, list) else []
