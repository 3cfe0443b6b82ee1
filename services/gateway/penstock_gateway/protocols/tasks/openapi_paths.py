"""The routes of tasks in the OpenAPI document: those that a model here can answer, with the models' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock_common.manifest import FieldKind, Manifest
from penstock_common.manifest_service import CONTRACTS, service_input
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.protocols.openapi_responses import responses
from penstock_gateway.protocols.tasks.route import MAX_COUNT, TaskRoute
from penstock_gateway.protocols.tasks.table import TASK_ROUTES
from penstock_gateway.signature.json_schema import field_schema

#: Files of a form.
_MAX_FILES = 16


def task_paths(servables: Sequence[Servable]) -> dict[str, Any]:
    """The paths that some of these models can answer."""
    paths: dict[str, Any] = {}
    max_rows = min((servable.signature.bounds.max_rows for servable in servables), default=0)
    for route in TASK_ROUTES:
        asked = {
            member: manifests
            for member, service in route.services.items()
            if (
                manifests := {
                    s.model: s.signature.manifest for s in servables if s.signature.manifest.service is service
                }
            )
        }
        if asked:
            paths[route.path] = {"post": _operation(route, asked, max_rows)}
    return paths


def task_schemas() -> dict[str, Any]:
    """The schemas of all results, by name."""
    _, components = msgspec.json.schema_components(
        [route.result for route in TASK_ROUTES], ref_template="#/components/schemas/{name}"
    )
    return components


def _operation(route: TaskRoute[Any], asked: dict[str, dict[str, Manifest]], max_rows: int) -> dict[str, Any]:
    requests = [_request(route, member, manifests, max_rows) for member, manifests in asked.items()]
    member, manifests = next(iter(asked.items()))
    content: dict[str, Any] = {
        "application/json": {
            "schema": requests[0] if len(requests) == 1 else {"oneOf": requests},
            "example": _example(route, member, manifests),
        }
    }
    if "image" in asked:
        content["multipart/form-data"] = {"schema": _form(route, asked["image"])}
        if not _needed(route, "image", asked["image"]):
            content["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    answer = {
        "type": "object",
        "required": ["model", "version", "results"],
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "string"},
            "results": {"type": "array", "items": {"$ref": f"#/components/schemas/{route.result.__name__}"}},
        },
    }
    return {
        "operationId": route.name,
        "tags": ["Tasks"],
        "summary": route.summary,
        "description": "A result for each row, in their order. Without `model`, the installation's own for the task answers.",
        "requestBody": {"required": True, "content": content},
        "responses": responses(answer),
    }


def _request(route: TaskRoute[Any], member: str, manifests: dict[str, Manifest], max_rows: int) -> dict[str, Any]:
    """What is asked about as ``member``, and the options that some of the models take."""
    fields = [field for manifest in manifests.values() if (field := service_input(manifest)) is not None]
    value = field_schema(fields[0])
    lengths = [field.max_length for field in fields if field.max_length is not None]
    if lengths and fields[0].kind is FieldKind.TEXT:
        value["maxLength"] = min(lengths)
    values = {"type": "array", "items": value, "minItems": 1, "maxItems": max_rows}
    batches = route.lists and all(manifest.batch for manifest in manifests.values())
    properties = _options(route, manifests)
    properties[member] = {"oneOf": [value, values]} if batches else value
    return {
        "type": "object",
        "required": [member, *_needed(route, member, manifests)],
        "properties": properties,
        "additionalProperties": False,
    }


def _options(route: TaskRoute[Any], manifests: dict[str, Manifest]) -> dict[str, Any]:
    """The members beside what is asked about."""
    _, components = msgspec.json.schema_components([route.request], ref_template="#/{name}")
    options: dict[str, Any] = components[route.request.__name__]["properties"]
    options["model"] = {"type": "string", "enum": list(manifests)}
    options |= {name: {"type": "integer", "minimum": 1, "maximum": MAX_COUNT} for name in route.request.counts}
    taken = {field.name for manifest in manifests.values() for field in manifest.client_inputs}
    others = {field.name for service in route.services.values() for field in CONTRACTS[service].others}
    if len(manifests) == 1:  # else the models may differ
        [manifest] = manifests.values()
        languages = [field for field in manifest.client_inputs if field.name in others and field.datatype == "BYTES"]
        options |= {field.name: field_schema(field) for field in languages}
    return {
        name: schema.get("anyOf", [schema])[0]  # without null, which is the same as none
        for name, schema in options.items()
        if name not in route.services and (name not in others or name in taken)
    }


def _needed(route: TaskRoute[Any], member: str, manifests: dict[str, Manifest]) -> list[str]:
    """The options that a model cannot do without, and ``model`` if none is the default."""
    service = route.services[member]
    names = {field.name for field in CONTRACTS[service].others}
    needed = {
        f.name for manifest in manifests.values() for f in manifest.client_inputs if f.required and f.name in names
    }
    return [*["model"] * (len(manifests) > 1 and service not in manifests), *sorted(needed)]


def _form(route: TaskRoute[Any], manifests: dict[str, Manifest]) -> dict[str, Any]:
    picture = {"type": "string", "format": "binary"}
    most = _MAX_FILES if all(manifest.batch for manifest in manifests.values()) else 1
    needed = _needed(route, "image", manifests)
    properties = _options(route, manifests)
    properties["image"] = {"type": "array", "items": picture, "minItems": 1, "maxItems": most}
    return {
        "type": "object",
        "required": ["image", *needed],
        "properties": properties,
        "additionalProperties": False,
    }


def _example(route: TaskRoute[Any], member: str, manifests: dict[str, Manifest]) -> dict[str, Any]:
    """A request that the first of the models answers: its own example, if it has one."""
    model, manifest = next(iter(manifests.items()))
    field = service_input(manifest)
    names = {f.name: f.name for f in CONTRACTS[route.services[member]].others}
    if field is not None:
        names[field.name] = member
    row = manifest.examples[0] if manifest.examples else {}
    example = {names[name]: value for name, value in row.items() if name in names}
    named = {"model": model} if len(manifests) > 1 else {}
    return named | ({member: route.examples[member]} | example)
