"""A JSON Schema that a client sends to bound an answer: read, checked, and put into a grammar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from penstock_inference.runners.chat_template import invalid

#: Bytes of one schema, and levels of JSON in it.
MOST_SCHEMA_BYTES = 65_536
MOST_LEVELS = 64

#: White space at each place where JSON may have some. Without a bound, a model may write nothing else.
_SPACE = r"[ \t\r\n]{1,20}"

#: Where a schema has further ones: an object of them, a list, or one.
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames")


class _Place(NamedTuple):
    path: str
    schema: dict[str, Any]


def read_schema(where: str, schema: bytes) -> dict[str, Any]:
    """Return a schema from its JSON.

    Args:
        where: it is in the request, for errors.

    Raises:
        PenstockError: 422 ``invalid-input`` if it is not an object, too large or too deep.
    """
    if len(schema) > MOST_SCHEMA_BYTES:
        raise invalid(f"{where}: the schema has {len(schema)} bytes; {MOST_SCHEMA_BYTES} are possible.")
    try:
        read = msgspec.json.decode(schema, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as err:
        raise invalid(f"{where}: the schema is not a JSON object: {err}.") from None
    if _levels(read) > MOST_LEVELS:
        raise invalid(f"{where}: the schema has more than {MOST_LEVELS} levels; make it flatter.")
    return read


def schema_rule(where: str, schema: dict[str, Any], *, strict: bool) -> str:
    """Return what stands for a schema in a grammar of ``llguidance``.

    Args:
        where: it is in the request, for errors.
        strict: as OpenAI has it (platform.openai.com/docs/guides/structured-outputs): each object has all its
            properties and no others, and a keyword that cannot be kept is an error. Else such keywords are ignored.

    Raises:
        PenstockError: 422 ``invalid-input`` if it is not strict.
    """
    if strict:
        _check_strict(where, schema)
    return json_rule(schema, strict=strict)


def json_rule(schema: Any, *, strict: bool) -> str:
    """Return what stands for any schema in a grammar of ``llguidance``.

    Args:
        strict: a keyword that cannot be kept is an error.
    """
    options = {"whitespace_pattern": _SPACE, "lenient": not strict}
    known = schema if isinstance(schema, dict) else {}  # true: any value
    return f"%json {json.dumps({**known, 'x-guidance': options})}"


def _levels(value: Any) -> int:
    """Return how deep a value of JSON is, without recursion."""
    levels, level = 0, [value]
    while level:
        levels += 1
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return levels


def _check_strict(where: str, schema: dict[str, Any]) -> None:
    if schema.get("type") != "object":
        raise invalid(f"{where}: with strict: true, the schema's type is object.")
    for place in _schemas(where, schema):
        properties = place.schema.get("properties", {})
        if "properties" not in place.schema and "object" not in _types(place.schema):
            continue
        if place.schema.get("additionalProperties") is not False:
            raise invalid(f"{place.path}: with strict: true, an object has additionalProperties: false.")
        required = place.schema.get("required", [])
        missing = [name for name in properties if name not in required]
        if missing:
            raise invalid(
                f"{place.path}.required: lacks {missing[0]!r}; with strict: true, all properties are required. One that "
                "may be missing has null among its types."
            )


def _types(schema: dict[str, Any]) -> list[Any]:
    types = schema.get("type", [])
    return types if isinstance(types, list) else [types]


def _schemas(where: str, schema: dict[str, Any]) -> Iterator[_Place]:
    """Yield a schema and all that it has in it, each with its place."""
    places = [_Place(where, schema)]
    while places:
        path, schema = place = places.pop()
        yield place
        for key, value in schema.items():
            if key in _NAMED and isinstance(value, dict):
                found = list(value.items())
            elif key in _LISTED and isinstance(value, list):
                found = list(enumerate(value))
            elif key in _SINGLE:
                places += [_Place(f"{path}.{key}", value)] if isinstance(value, dict) else []
                continue
            else:
                continue
            places += [_Place(f"{path}.{key}.{name}", child) for name, child in found if isinstance(child, dict)]
