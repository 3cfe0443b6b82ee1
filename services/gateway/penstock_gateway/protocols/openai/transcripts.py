"""The forms in which the text of a sound is answered: JSON, text or subtitles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import orjson

from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.edge.call import JSON, Reply
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.signature.answer_tensors import answer_array, bad_answer
from penstock_gateway.signature.signature import Signature

TEXT = "text"
_SEGMENTS, _LANGUAGE = "segments", "language"

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
#: Those that have the times of segments.
_WITH_TIMES = ("srt", "verbose_json", "vtt")


class Segment(msgspec.Struct):
    """A part of the text, with its times in seconds."""

    start: Annotated[float, msgspec.Meta(ge=0)]
    end: Annotated[float, msgspec.Meta(ge=0)]
    text: str


def check_form(signature: Signature, form: ResponseFormat) -> None:
    """Check that a model gives what a form is made of.

    Raises:
        PenstockError: 400 ``invalid-request``.
    """
    outputs = signature.manifest.outputs
    if form in _WITH_TIMES and not any(o.name == _SEGMENTS and o.datatype == "BYTES" for o in outputs):
        text = f"response_format: '{signature.model}' does not say the times of its text; ask for json or text."
        raise bad_request(text, "response_format")


def transcript_reply(answer: Answer, form: ResponseFormat, task: Literal["transcribe", "translate"]) -> Reply:
    """The reply in a form.

    Raises:
        PenstockError: 500 ``bad-model-answer``.
    """
    if form == "verbose_json":
        return answer.reply(_verbose(answer, task))
    body, content_type = _FORMS[form](answer)
    return answer.reply(body, content_type)


def _output(answer: Answer, name: str) -> str | None:
    """The text that an output has for the only row; None if the model does not have the output."""
    manifest = answer.servable.signature.manifest
    for i, output in enumerate(manifest.outputs):
        if output.name == name and output.datatype == "BYTES":
            element = answer_array(answer.outputs, i, output, answer.rows.count, answer.servable.model).item()
            return bytes(element).decode(errors="replace")
    return None


def _text(answer: Answer) -> str:
    return (_output(answer, TEXT) or "").strip()


def _segments(answer: Answer) -> list[Segment]:
    try:
        return msgspec.json.decode(_output(answer, _SEGMENTS) or "", type=list[Segment])
    except msgspec.DecodeError:
        raise bad_answer(answer.servable.model, f"'{_SEGMENTS}' that are not segments in JSON") from None


def _as_json(answer: Answer) -> tuple[bytes, bytes]:
    return orjson.dumps({"text": _text(answer)}), JSON


def _verbose(answer: Answer, task: str) -> bytes:
    """OpenAI's object with the segments; the text of a translation is in English."""
    segments = _segments(answer)
    body: dict[str, Any] = {
        "task": task,
        "language": "english" if task == "translate" else _output(answer, _LANGUAGE) or "",
        "duration": segments[-1].end if segments else 0.0,
        "text": _text(answer),
        "segments": [
            {"id": i, "start": segment.start, "end": segment.end, "text": segment.text}
            for i, segment in enumerate(segments)
        ],
    }
    return orjson.dumps(body)


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
    "vtt": _as_vtt,
}
