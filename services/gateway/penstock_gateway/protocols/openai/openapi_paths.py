"""The routes of OpenAI's API in the OpenAPI document: those that a model here can answer, with the models' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_common.manifest_service import service_input
from penstock_common.service import Service
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.protocols.openai.embeddings import vector_width
from penstock_gateway.protocols.openai.generation import MESSAGES, PROMPT, generates_text
from penstock_gateway.protocols.openai.responses.openapi_paths import SAMPLING, response_paths
from penstock_gateway.protocols.openai.sound_encoder import CONTENT_TYPES, SoundFormat
from penstock_gateway.protocols.openai.speech import MAX_INPUT, speaks
from penstock_gateway.protocols.openai.transcriptions import translates_speech, writes_speech_down
from penstock_gateway.protocols.openapi_responses import responses

_OBJECT = {"type": "object"}


def openai_paths(servables: Sequence[Servable]) -> dict[str, Any]:
    """The paths that some of these models can answer."""
    paths: dict[str, Any] = {}
    embedding = [servable for servable in servables if vector_width(servable.signature)]
    if embedding:
        paths["/v1/embeddings"] = _post("Make vectors of texts", _embeddings(embedding))
    for path, summary, member, schema in (
        ("/v1/chat/completions", "Continue a conversation", MESSAGES, _MESSAGES),
        ("/v1/completions", "Continue a text", PROMPT, {"type": "string", "minLength": 1}),
    ):
        names = [servable.model for servable in servables if generates_text(servable.signature.manifest, member)]
        if names:
            paths[path] = _post(summary, _generation(names, member, schema))
            paths[path]["post"]["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    answering = [servable.model for servable in servables if generates_text(servable.signature.manifest, MESSAGES)]
    if answering:
        paths |= response_paths(answering)
    hearing = [servable.model for servable in servables if writes_speech_down(servable.signature.manifest)]
    if hearing:
        paths["/v1/audio/transcriptions"] = _post("Write speech down", _transcription(hearing), "multipart/form-data")
    translating = [servable.model for servable in servables if translates_speech(servable.signature.manifest)]
    if translating:
        form = _transcription(translating)
        paths["/v1/audio/translations"] = _post("Write speech down in English", form, "multipart/form-data")
    speaking = [servable.model for servable in servables if speaks(servable.signature.manifest)]
    if speaking:
        paths["/v1/audio/speech"] = _post("Speak a text", _speech(speaking))
        binary = {"schema": {"type": "string", "format": "binary"}}
        sounds = {content_type.decode(): binary for content_type in CONTENT_TYPES.values()}
        content = sounds | {"text/event-stream": {"schema": {"type": "string"}}}
        paths["/v1/audio/speech"]["post"]["responses"]["200"]["content"] = content
    judging = [servable for servable in servables if servable.signature.manifest.service is Service.MODERATION]
    if judging:
        paths["/v1/moderations"] = _post("Flag texts", _moderations(judging))
    return paths


def _post(summary: str, body: dict[str, Any], content_type: str = "application/json") -> dict[str, Any]:
    example = {"example": body.pop("example")} if "example" in body else {}
    content = {content_type: {"schema": body} | example}
    return {
        "post": {
            "operationId": summary.lower().replace(" ", "_"),
            "tags": ["OpenAI"],
            "summary": summary,
            "description": "As OpenAI's clients call it; an error has their `error` object.",
            "requestBody": {"required": True, "content": content},
            "responses": responses(_OBJECT),
        }
    }


def _max_rows(servables: Sequence[Servable]) -> int:
    return min(servable.signature.bounds.max_rows for servable in servables)


def _embeddings(servables: Sequence[Servable]) -> dict[str, Any]:
    names = [servable.model for servable in servables]
    longest = min(servable.signature.manifest.client_inputs[0].max_length or 100_000 for servable in servables)
    text = {"type": "string", "maxLength": longest}
    width = min(vector_width(servable.signature) for servable in servables)
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": _max_rows(servables)}
    return {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string", "enum": names},
            "input": {"oneOf": [text, texts]},
            "encoding_format": {"type": "string", "enum": ["float", "base64"], "default": "float"},
            "dimensions": {"type": "integer", "minimum": 1, "maximum": width},
        },
        "example": {"model": names[0], "input": ["A man is eating food.", "Someone has a meal."]},
    }


def _moderations(servables: Sequence[Servable]) -> dict[str, Any]:
    names = [servable.model for servable in servables]
    fields = [field for s in servables if (field := service_input(s.signature.manifest)) is not None]
    text = {"type": "string", "maxLength": min(field.max_length or 100_000 for field in fields)}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": _max_rows(servables)}
    is_chosen = len(names) == 1 or Service.MODERATION in names
    return {
        "type": "object",
        "required": ["input"] if is_chosen else ["model", "input"],
        "properties": {
            "model": {"type": "string", "enum": names},
            "input": {"oneOf": [text, texts]},
        },
        "example": {"model": names[0], "input": "What a wonderful day!"},
    }


def _transcription(names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model", "file"],
        "properties": {
            "model": {"type": "string", "enum": list(names)},
            "file": {"type": "string", "format": "binary"},
            "response_format": {"enum": ["json", "text", "srt", "verbose_json", "vtt"], "default": "json"},
        },
    }


def _speech(names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string", "enum": list(names)},
            "input": {"type": "string", "minLength": 1, "maxLength": MAX_INPUT},
            "voice": {"type": "string", "maxLength": 256},
            "response_format": {"enum": list(SoundFormat), "default": "mp3"},
            "speed": {"type": "number", "minimum": 0.25, "maximum": 4, "default": 1},
            "stream_format": {"enum": ["audio", "sse"], "default": "audio"},
        },
        "example": {"model": names[0], "input": "Water falls through the penstock.", "voice": "alloy"},
    }


_PART = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["text", "image_url"]},
        "text": {"type": "string"},
        "image_url": {
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string", "pattern": "^data:", "description": "A PNG, JPEG or WebP."}},
            "description": "For models that see.",
        },
    },
}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["system", "user", "assistant"]},
            "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": _PART, "minItems": 1}]},
        },
    },
}


_FORM_OF_ANSWER = {
    "response_format": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}, "json_schema": _OBJECT},
    },
    "tools": {"type": "array", "items": _OBJECT, "maxItems": 128},
    "tool_choice": {"oneOf": [{"enum": ["none", "auto", "required"]}, _OBJECT]},
    "parallel_tool_calls": {"type": "boolean"},
}


def _generation(names: Sequence[str], member: str, schema: dict[str, Any]) -> dict[str, Any]:
    example: Any = [{"role": "user", "content": "What is a penstock?"}] if member == MESSAGES else "A penstock is"
    return {
        "type": "object",
        "required": ["model", member],
        "properties": {
            "model": {"type": "string", "enum": list(names)},
            member: schema,
            "max_tokens": {"type": "integer", "minimum": 1},
            **SAMPLING,
            "logit_bias": {
                "type": "object",
                "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
            },
            "seed": {"type": "integer"},
            "stop": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 4},
            "stream": {"type": "boolean"},
            **(_FORM_OF_ANSWER if member == MESSAGES else {}),
        },
        "example": {"model": names[0], member: example, "max_tokens": 32},
    }
