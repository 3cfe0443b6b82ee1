"""``POST /v1/audio/transcriptions``: a sound file in, what is said in it out, as text, JSON or subtitles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import orjson

from penstock_common.manifest import FieldKind, Manifest
from penstock_gateway.dataplane.dataplane import Answer, DataPlane
from penstock_gateway.edge.call import JSON, Call, Reply
from penstock_gateway.protocols.multipart import read_form
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.request import ModelName, convert_request
from penstock_gateway.signature.answer_tensors import answer_array, bad_answer
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

_TEXT, _SEGMENTS, _LANGUAGE = "text", "segments", "language"


class Segment(msgspec.Struct):
    """A part of the text, with its times in seconds."""

    start: Annotated[float, msgspec.Meta(ge=0)]
    end: Annotated[float, msgspec.Meta(ge=0)]
    text: str


class TranscriptionRequest(msgspec.Struct):
    """The fields of a form, without the file; a list has `[]` after its name."""

    model: ModelName
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    language: str | None = None
    timestamp_granularities: Literal["segment"] = msgspec.field(default="segment", name="timestamp_granularities[]")
    # Fields that change the answer, and that nothing here carries out.
    temperature: float | None = None
    prompt: str | None = None
    stream: bool | None = None
    include: str = msgspec.field(default="", name="include[]")
    keywords: str = msgspec.field(default="", name="keywords[]")
    languages: str = msgspec.field(default="", name="languages[]")
    known_speaker_names: str = msgspec.field(default="", name="known_speaker_names[]")
    known_speaker_references: str = msgspec.field(default="", name="known_speaker_references[]")


_UNSUPPORTED = (
    "temperature",
    "prompt",
    "stream",
    "include",
    "keywords",
    "languages",
    "known_speaker_names",
    "known_speaker_references",
)


class Transcriptions:
    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def __call__(self, call: Call) -> Reply:
        if not call.headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data"):
            raise bad_request("The body is a form: send file and model as multipart/form-data.", "file")
        fields = await read_form(call)
        sound = fields.pop("file", None)
        if not isinstance(sound, bytes):
            raise bad_request("file: is missing; send the sound as a file of the form.", "file")
        request = convert_request(fields, TranscriptionRequest)
        for name in _UNSUPPORTED:
            if getattr(request, name):
                raise bad_request(f"{name}: is not supported here; leave it out.", name, "unsupported-parameter")

        def rows(_: Call, signature: Signature) -> Rows:
            if request.response_format in _WITH_TIMES:
                _check_times(signature)
            values: dict[str, str | bytes] = {_sound_field(signature): sound}
            if request.language is not None:
                if not any(field.name == _LANGUAGE for field in signature.manifest.client_inputs):
                    text = f"language: '{signature.model}' does not take it; leave it out."
                    raise bad_request(text, _LANGUAGE, "unsupported-parameter")
                values[_LANGUAGE] = request.language
            return signature.decoder.decode_form(values)

        answer = await self._dataplane.infer(call, request.model, "", rows)
        body, content_type = _FORMS[request.response_format](answer)
        return answer.reply(body, content_type)


def writes_speech_down(manifest: Manifest) -> bool:
    """Whether a model makes a text of a sound."""
    sounds = [field for field in manifest.client_inputs if field.kind is FieldKind.AUDIO]
    return len(sounds) == 1 and any(output.name == _TEXT for output in manifest.outputs)


def _sound_field(signature: Signature) -> str:
    if not writes_speech_down(signature.manifest):
        text = f"model: '{signature.model}' does not write speech down; GET /v1/models lists the models."
        raise bad_request(text, "model")
    return next(field.name for field in signature.manifest.client_inputs if field.kind is FieldKind.AUDIO)


def _output(answer: Answer, name: str) -> str | None:
    """The text that an output has for the only row; None if the model does not have the output."""
    manifest = answer.servable.signature.manifest
    for i, output in enumerate(manifest.outputs):
        if output.name == name and output.datatype == "BYTES":
            element = answer_array(answer.outputs, i, output, answer.rows.count, answer.servable.model).item()
            return bytes(element).decode(errors="replace")
    return None


def _text(answer: Answer) -> str:
    return (_output(answer, _TEXT) or "").strip()


def _check_times(signature: Signature) -> None:
    if not any(output.name == _SEGMENTS and output.datatype == "BYTES" for output in signature.manifest.outputs):
        text = f"response_format: '{signature.model}' does not say the times of its text; ask for json or text."
        raise bad_request(text, "response_format")


def _segments(answer: Answer) -> list[Segment]:
    try:
        return msgspec.json.decode(_output(answer, _SEGMENTS) or "", type=list[Segment])
    except msgspec.DecodeError:
        raise bad_answer(answer.servable.model, f"'{_SEGMENTS}' that are not segments in JSON") from None


def _as_json(answer: Answer) -> tuple[bytes, bytes]:
    return orjson.dumps({"text": _text(answer)}), JSON


def _as_verbose_json(answer: Answer) -> tuple[bytes, bytes]:
    segments = _segments(answer)
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": _output(answer, _LANGUAGE) or "",
        "duration": segments[-1].end if segments else 0.0,
        "text": _text(answer),
        "segments": [
            {"id": i, "start": segment.start, "end": segment.end, "text": segment.text}
            for i, segment in enumerate(segments)
        ],
    }
    return orjson.dumps(body), JSON


def _as_text(answer: Answer) -> tuple[bytes, bytes]:
    return f"{_text(answer)}\n".encode(), b"text/plain; charset=utf-8"


def _as_srt(answer: Answer) -> tuple[bytes, bytes]:
    """SubRip: numbered, with a comma before the milliseconds."""
    parts = [
        f"{i}\n{_time(segment.start, ',')} --> {_time(segment.end, ',')}\n{segment.text.strip()}\n"
        for i, segment in enumerate(_segments(answer), 1)
    ]
    return "\n".join(parts).encode(), b"text/plain; charset=utf-8"


def _as_vtt(answer: Answer) -> tuple[bytes, bytes]:
    """WebVTT (w3.org/TR/webvtt1)."""
    parts = [
        f"{_time(segment.start, '.')} --> {_time(segment.end, '.')}\n{segment.text.strip()}\n"
        for segment in _segments(answer)
    ]
    return "\n".join(["WEBVTT\n", *parts]).encode(), b"text/vtt; charset=utf-8"


def _time(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{milliseconds:03}"


_FORMS: dict[str, Callable[[Answer], tuple[bytes, bytes]]] = {
    "json": _as_json,
    "text": _as_text,
    "srt": _as_srt,
    "verbose_json": _as_verbose_json,
    "vtt": _as_vtt,
}
#: Those that have the times of segments.
_WITH_TIMES = ("srt", "verbose_json", "vtt")
