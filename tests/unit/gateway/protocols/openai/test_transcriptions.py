"""``/v1/audio/transcriptions``: a form with a sound in, its text in five forms out."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_common.tensors import pack_bytes, unpack_bytes
from penstock_gateway.edge.call import Reply
from penstock_gateway.protocols.openai.transcriptions import Transcriptions, Translations
from tests.unit.gateway.protocols.one_servable import OneServable, call, multipart

SEGMENTS = [{"start": 0.0, "end": 1.5, "text": " Hello"}, {"start": 3599.9996, "end": 3661.25, "text": " world."}]
AUDIO = Field("sound", FieldKind.AUDIO, "BYTES")
OUTPUTS = (Output("text", "BYTES"), Output("segments", "BYTES"), Output("language", "BYTES"))


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16000)
        writer.writeframes(bytes(3200))
    return file.getvalue()


def serving(*fields: Field, outputs: tuple[Output, ...] = OUTPUTS) -> OneServable:
    manifest = Manifest(Format.CTRANSLATE2, "m", Task.TENSOR, list(fields or (AUDIO,)), list(outputs))
    answers = (b" Hello world.", orjson.dumps(SEGMENTS), b"en")
    return OneServable("whisper", manifest, tuple(pack_bytes([answer]) for answer in answers[: len(outputs)]))


async def ask(servable: OneServable, *, file: bytes | None = None, **fields: str) -> Reply:
    parts: list[tuple[str, str | None, bytes]] = [("file", "a.wav", wav() if file is None else file)]
    parts += [(name, None, value.encode()) for name, value in ({"model": "whisper"} | fields).items()]
    body, headers = multipart(*parts)
    return await Transcriptions(servable.dataplane)(call(body, headers))


def text(reply: Reply) -> str:
    assert isinstance(reply.body, bytes)
    return reply.body.decode()


async def test_a_sound_becomes_text() -> None:
    """The file reaches the model's only sound field, whatever that is called."""
    servable = serving()
    reply = await ask(servable)
    assert (orjson.loads(text(reply)), reply.content_type) == ({"text": "Hello world."}, b"application/json")
    assert unpack_bytes(servable.inferred[0].inputs[0], 1) == [wav()]
    assert text(await ask(serving(), response_format="text")) == "Hello world.\n"


async def test_the_verbose_form_has_segments() -> None:
    """With their times in seconds and the language."""
    verbose: dict[str, Any] = orjson.loads(text(await ask(serving(), response_format="verbose_json")))
    assert verbose["segments"][1] == {"id": 1, "start": 3599.9996, "end": 3661.25, "text": " world."}
    assert (verbose["language"], verbose["duration"], verbose["text"]) == ("en", 3661.25, "Hello world.")


async def test_subtitles() -> None:
    """SubRip and WebVTT differ in their heads, numbers and points; times are rounded as a whole."""
    assert text(await ask(serving(), response_format="srt")) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello\n\n2\n01:00:00,000 --> 01:01:01,250\nworld.\n"
    )
    assert text(await ask(serving(), response_format="vtt")) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello\n\n01:00:00.000 --> 01:01:01.250\nworld.\n"
    )


async def test_a_language_goes_to_a_model_that_takes_one() -> None:
    """One that does not is not asked: its answer would be in another language than the client believes."""
    takes = serving(AUDIO, Field("language", FieldKind.TEXT, "BYTES", required=False))
    await ask(takes, language="de")
    assert unpack_bytes(takes.inferred[0].inputs[1], 1) == [b"de"]
    with pytest.raises(PenstockError, match="language: 'whisper' does not take it"):
        await ask(serving(), language="de")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "html"}, "response_format"),
        ({"temperature": "0.5"}, "temperature"),
        ({"prompt": "Names: Ann"}, "prompt"),
        ({"stream": "true"}, "stream"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "1.5"}, "temperature"),
        ({"temperature": "-0.1"}, "temperature"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities[]"),
        ({"include[]": "logprobs"}, "include"),
        ({"known_speaker_names[]": "Ann"}, "known_speaker_names"),
        ({"model": "m" * 257}, "model"),
    ],
)
async def test_what_is_not_carried_out_is_refused(fields: dict[str, str], param: str) -> None:
    """With 400, naming the field; nothing reaches the model."""
    servable = serving()
    with pytest.raises(PenstockError) as caught:
        await ask(servable, **fields)
    assert (caught.value.status, caught.value.extra, servable.inferred) == (400, {"field": param}, [])


DECODING = (
    Field("prompt", FieldKind.TEXT, "BYTES", required=False),
    Field("temperature", FieldKind.NUMBER, "FP32", minimum=0, maximum=1, required=False),
)


async def test_a_prompt_and_a_temperature_go_to_a_model_that_takes_them() -> None:
    """Of a translation too; a temperature of 0 and an empty prompt are as none."""
    servable = serving(AUDIO, *DECODING)
    await ask(servable, prompt="Names: Ann", temperature="0.5")
    await ask(servable, prompt="", temperature="0")
    asked, plain = servable.inferred
    assert unpack_bytes(asked.inputs[1], 1) == [b"Names: Ann"]
    assert np.frombuffer(asked.inputs[2], np.float32) == [0.5]
    assert [tensor for tensor in plain.inputs[1:] if tensor] == []
    servable = serving(AUDIO, TASK, *DECODING)
    await translate(servable, prompt="Namen: Ann")
    assert unpack_bytes(servable.inferred[0].inputs[2], 1) == [b"Namen: Ann"]


async def test_subtitles_need_times() -> None:
    """A model that gives only text is not asked for them."""
    servable = serving(outputs=OUTPUTS[:1])
    with pytest.raises(PenstockError, match="does not say the times"):
        await ask(servable, response_format="srt")
    assert servable.inferred == []


async def test_fields_that_change_nothing_are_accepted() -> None:
    """The granularity that there is, and what only describes the request."""
    fields = {"timestamp_granularities[]": "segment", "temperature": "0", "stream": "false", "user": "ann"}
    assert orjson.loads(text(await ask(serving(), **fields))) == {"text": "Hello world."}


async def test_requests_that_are_no_form_with_a_sound_are_refused() -> None:
    """JSON, a form without the file, and a model of something else."""
    with pytest.raises(PenstockError, match="send file and model as multipart/form-data"):
        await Transcriptions(serving().dataplane)(call(b"{}", {b"content-type": b"application/json"}))
    body, headers = multipart(("model", None, b"whisper"))
    with pytest.raises(PenstockError, match="file: is missing"):
        await Transcriptions(serving().dataplane)(call(body, headers))
    with pytest.raises(PenstockError, match="does not write speech down"):
        await ask(serving(Field("text", FieldKind.TEXT, "BYTES")))


TASK = Field("task", FieldKind.CATEGORY, "BYTES", categories=["transcribe", "translate"], required=False)


async def translate(servable: OneServable, **fields: str) -> Reply:
    body, headers = multipart(
        ("file", "a.wav", wav()),
        *[(name, None, value.encode()) for name, value in ({"model": "whisper"} | fields).items()],
    )
    return await Translations(servable.dataplane)(call(body, headers))


async def test_a_translation_is_asked_for_by_the_task() -> None:
    """Its verbose form says so, and that the text is English, whatever was heard."""
    servable = serving(AUDIO, TASK)
    verbose = orjson.loads(text(await translate(servable, response_format="verbose_json")))
    assert unpack_bytes(servable.inferred[0].inputs[1], 1) == [b"translate"]
    assert (verbose["task"], verbose["language"], verbose["text"]) == ("translate", "english", "Hello world.")
    assert text(await translate(serving(AUDIO, TASK), response_format="vtt")).startswith("WEBVTT")


async def test_a_transcription_leaves_the_task_to_the_model() -> None:
    """So that a client gets what the manifest says."""
    servable = serving(AUDIO, TASK)
    await ask(servable)
    assert servable.inferred[0].inputs[1] == b""


async def test_a_model_that_always_translates_is_not_asked() -> None:
    """By its parameters."""
    servable = serving()
    servable.signature.manifest.parameters = Parameters(task="translate")
    assert orjson.loads(text(await translate(servable))) == {"text": "Hello world."}


async def test_a_model_that_does_not_translate_is_refused() -> None:
    """As a Whisper that knows English only; what it heard would be taken for a translation."""
    servable = serving()
    with pytest.raises(PenstockError, match="'whisper' does not translate speech") as caught:
        await translate(servable)
    assert (caught.value.status, caught.value.extra, servable.inferred) == (400, {"field": "model"}, [])


@pytest.mark.parametrize(("fields", "param"), [({"prompt": "Ann"}, "prompt"), ({"temperature": "1"}, "temperature")])
async def test_what_a_translation_does_not_carry_out_is_refused(fields: dict[str, str], param: str) -> None:
    """With 400, naming the field."""
    with pytest.raises(PenstockError) as caught:
        await translate(serving(AUDIO, TASK), **fields)
    assert (caught.value.status, caught.value.extra) == (400, {"field": param})
