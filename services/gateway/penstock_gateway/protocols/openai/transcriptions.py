"""``POST /v1/audio/transcriptions`` and ``translations``: a sound file in, what is said in it out, as it is said or in
English."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from penstock_common.manifest import FieldKind, Manifest
from penstock_gateway.dataplane.dataplane import Answer, DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.multipart import read_form
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.request import ModelName, convert_request
from penstock_gateway.protocols.openai.transcripts import TEXT, ResponseFormat, check_form, transcript_reply
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

_LANGUAGE, _TASK, _TRANSLATE = "language", "task", "translate"
_PROMPT, _TEMPERATURE = "prompt", "temperature"


class HearingRequest(msgspec.Struct, kw_only=True):
    """The fields that both forms have, without the file."""

    model: ModelName
    response_format: ResponseFormat = "json"
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    prompt: str | None = None


class TranscriptionRequest(HearingRequest, kw_only=True):
    """A list has `[]` after its name."""

    language: str | None = None
    timestamp_granularities: Literal["segment"] = msgspec.field(default="segment", name="timestamp_granularities[]")
    # Fields that change the answer, and that nothing here carries out.
    stream: bool | None = None
    include: str = msgspec.field(default="", name="include[]")
    keywords: str = msgspec.field(default="", name="keywords[]")
    languages: str = msgspec.field(default="", name="languages[]")
    known_speaker_names: str = msgspec.field(default="", name="known_speaker_names[]")
    known_speaker_references: str = msgspec.field(default="", name="known_speaker_references[]")


_UNSUPPORTED = (
    "stream",
    "include",
    "keywords",
    "languages",
    "known_speaker_names",
    "known_speaker_references",
)

R = TypeVar("R", bound=HearingRequest)


class Transcriptions:
    """The handler of ``transcriptions``."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def __call__(self, call: Call) -> Reply:
        request, sound = await _read(call, TranscriptionRequest)

        def language(signature: Signature) -> dict[str, str]:
            return {} if request.language is None else _taken(signature, {_LANGUAGE: request.language})

        answer = await _heard(self._dataplane, call, request, sound, language)
        return transcript_reply(answer, request.response_format, "transcribe")


class Translations:
    """The handler of ``translations``, for models that can hear in any language and write in English."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def __call__(self, call: Call) -> Reply:
        request, sound = await _read(call, HearingRequest)
        answer = await _heard(self._dataplane, call, request, sound, _translate)
        return transcript_reply(answer, request.response_format, "translate")


def writes_speech_down(manifest: Manifest) -> bool:
    """Whether a model makes a text of a sound."""
    sounds = [field for field in manifest.client_inputs if field.kind is FieldKind.AUDIO]
    return len(sounds) == 1 and any(output.name == TEXT for output in manifest.outputs)


def translates_speech(manifest: Manifest) -> bool:
    """Whether a model can write what it hears in English: it is asked with ``task``, or does nothing else."""
    asked = any(field.name == _TASK for field in manifest.client_inputs)
    always = manifest.parameters is not None and manifest.parameters.task == _TRANSLATE
    return writes_speech_down(manifest) and (asked or always)


async def _read(call: Call, kind: type[R]) -> tuple[R, bytes]:
    """The fields and the file of a form.

    Raises:
        PenstockError: 400 ``invalid-request`` or ``unsupported-parameter``, naming the field.
    """
    if not call.headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data"):
        raise bad_request("The body is a form: send file and model as multipart/form-data.", "file")
    fields = await read_form(call)
    sound = fields.pop("file", None)
    if not isinstance(sound, bytes):
        raise bad_request("file: is missing; send the sound as a file of the form.", "file")
    request = convert_request(fields, kind)
    for name in _UNSUPPORTED:
        if getattr(request, name, None):
            raise bad_request(f"{name}: is not supported here; leave it out.", name, "unsupported-parameter")
    return request, sound


async def _heard(
    dataplane: DataPlane, call: Call, request: HearingRequest, sound: bytes, more: Callable[[Signature], dict[str, str]]
) -> Answer:
    """The model's answer to a sound.

    Args:
        more: the other inputs of a model; raises PenstockError if it does not do what is asked.
    """

    def rows(_: Call, signature: Signature) -> Rows:
        if not writes_speech_down(signature.manifest):
            text = f"model: '{signature.model}' does not write speech down; GET /v1/models lists the models."
            raise bad_request(text, "model")
        check_form(signature, request.response_format)
        name = next(field.name for field in signature.manifest.client_inputs if field.kind is FieldKind.AUDIO)
        decoding = {}
        if request.prompt:
            decoding[_PROMPT] = request.prompt
        if request.temperature:  # at 0, a model does what it does without one
            decoding[_TEMPERATURE] = str(request.temperature)
        return signature.decoder.decode_form({name: sound, **more(signature), **_taken(signature, decoding)})

    return await dataplane.infer(call, request.model, "", rows)


def _translate(signature: Signature) -> dict[str, str]:
    """The inputs with which a model translates.

    Raises:
        PenstockError: 400 ``invalid-request`` if it does not.
    """
    if not translates_speech(signature.manifest):
        text = (
            f"model: '{signature.model}' does not translate speech. One that does knows several languages and takes the "
            f"input '{_TASK}'; /v1/audio/transcriptions writes speech down as it is."
        )
        raise bad_request(text, "model")
    return {_TASK: _TRANSLATE} if _takes(signature, _TASK) else {}


def _taken(signature: Signature, fields: dict[str, str]) -> dict[str, str]:
    """Return fields as inputs of a model.

    Raises:
        PenstockError: 400 ``unsupported-parameter`` for one that it does not take.
    """
    for name in fields:
        if not _takes(signature, name):
            text = f"{name}: '{signature.model}' does not take it; leave it out."
            raise bad_request(text, name, "unsupported-parameter")
    return fields


def _takes(signature: Signature, name: str) -> bool:
    return any(field.name == name for field in signature.manifest.client_inputs)
