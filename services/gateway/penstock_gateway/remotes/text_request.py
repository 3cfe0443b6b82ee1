"""A row of a model that generates text, back as a request of OpenAI's API (docs/model-format.md, "Text generation")."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.image_format import image_type
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.remotes import Remote
from penstock_common.tensors import from_raw
from penstock_gateway.signature.rows import Rows

_PROMPT, _MESSAGES, _IMAGES = "prompt", "messages", "images"
#: Inputs whose text is JSON, which goes on as it is.
_JSON = frozenset({_MESSAGES, "tools", "tool_choice", "response_format", "logit_bias"})
_OF_BOTH = frozenset(
    {
        "max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop",
        "logprobs",
    }
)  # fmt: skip
#: The inputs that a route takes.
CARRIED = {"chat": _OF_BOTH | _JSON | {"parallel_tool_calls"}, "completions": _OF_BOTH | {_PROMPT}}


def text_request(remote: Remote, rows: Rows, manifest: Manifest) -> tuple[str, bytes]:
    """The path and the body of the request for a row; the answer is always streamed.

    Args:
        manifest: of the signature that has checked the row.

    Raises:
        PenstockError: 422 ``invalid-input`` for several rows, neither or both of prompt and messages, or an input that
            the remote does not take.
    """
    given = given_inputs(rows, manifest)
    images = given.pop(_IMAGES, []) if remote.images else []
    chat = _MESSAGES in given
    if chat == (_PROMPT in given):
        raise _invalid(f"Send either {_PROMPT} or {_MESSAGES}.", _MESSAGES)
    route = "chat" if chat else "completions"
    taken = CARRIED[route] if route in remote.routes else frozenset()
    body: dict[str, Any] = {
        "model": remote.model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name, value in given.items():
        if name not in taken:
            raise _invalid(f"{name}: this remote model does not take it; leave it out.", name)
        if name == "max_tokens" and chat:
            body[remote.limit] = value
        elif name == "logprobs" and chat:
            body |= {"logprobs": True, "top_logprobs": value}
        else:
            body[name] = value
    if chat:
        _put_pictures(body[_MESSAGES], images)
    return "/chat/completions" if chat else "/completions", msgspec.json.encode(body)


def given_inputs(rows: Rows, manifest: Manifest) -> dict[str, Any]:
    """The inputs of the only row by name, as JSON has them, without those that are absent.

    Raises:
        PenstockError: 422 ``invalid-input``.
    """
    if rows.count != 1:
        raise _invalid(f"{rows.count} rows; a model that streams takes one row a request.")
    fields = manifest.client_inputs
    shapes = rows.shapes or [()] * len(fields)
    return {
        field.name: _value(field, raw, shape)
        for field, raw, shape in zip(fields, rows.inputs, shapes, strict=True)
        if shape is not None
    }


def _value(field: Field, raw: bytes, shape: tuple[int, ...]) -> Any:
    array = from_raw(raw, field.datatype, shape)
    if field.kind is FieldKind.IMAGE:
        return array.ravel().tolist()
    if field.datatype != "BYTES":
        # The shortest text of a FP32 is the number that was sent: 0.7, not 0.699999988.
        return float(str(array)) if array.dtype.kind == "f" else array.tolist()
    try:
        texts = [bytes(element).decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError:
        raise _invalid(f"{field.name}: is not UTF-8 text.", field.name) from None
    if field.shape:
        return texts
    [text] = texts
    if field.name not in _JSON:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise _invalid(f"{field.name}: is not valid JSON.", field.name) from None


def _put_pictures(messages: Any, images: Sequence[bytes]) -> None:
    """Put pictures, in their order, where the messages have parts of type ``image``."""
    sent = messages if isinstance(messages, list) else []
    contents = [message.get("content") for message in sent if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    places = [part for part in parts if part.get("type") == "image"]
    if len(places) != len(images):
        text = f"{_IMAGES}: there are {len(images)}, and {len(places)} parts of type image in messages."
        raise _invalid(text, _IMAGES)
    for place, image in zip(places, images, strict=True):
        url = f"data:{image_type(image)};base64,{base64.b64encode(image).decode()}"
        place.clear()
        place |= {"type": "image_url", "image_url": {"url": url}}


def _invalid(detail: str, field: str = "") -> PenstockError:
    return PenstockError(422, "invalid-input", detail, extra={"field": field} if field else None)
