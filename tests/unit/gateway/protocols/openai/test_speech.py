"""``/v1/audio/speech``: what the model gets, and what clients hear."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes, unpack_bytes
from penstock_common.wav_file import wav_file
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.speech import Speech
from penstock_gateway.signature.rows import RawOutputs, Rows
from tests.unit.gateway.protocols.one_servable import OneServable, call

TEXT = Field("text", FieldKind.TEXT, "BYTES", max_length=40)
SPEED = Field("speed", FieldKind.NUMBER, "FP32", minimum=0.25, maximum=4, required=False, default=1.0)
VOICE = Field("voice", FieldKind.CATEGORY, "BYTES", categories=["ann", "bob"], required=False, default="ann")
AUDIO = Output("audio", "BYTES")


def sentence(seconds: float = 0.5, rate: int = 24_000) -> bytes:
    return wav_file(np.full(round(seconds * rate), 0.25), rate)


class Voice(OneServable):
    """Speaks the sentences that it is given; an exception among them is raised."""

    def __init__(
        self, *sentences: bytes | Exception, fields: tuple[Field, ...] = (TEXT, SPEED), output: Output = AUDIO
    ) -> None:
        manifest = Manifest(Format.PYTHON, "m", Task.TENSOR, list(fields), [output], stream=True)
        super().__init__("voice", manifest)
        self._sentences = sentences
        self.spoken = 0
        self.open = 0

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        self.inferred.append(rows)
        self.open += 1
        try:
            for one in self._sentences:
                if isinstance(one, Exception):
                    raise one
                self.spoken += 1
                yield RawOutputs([pack_bytes([one])], [()])
        finally:
            self.open -= 1

    def given(self, name: str) -> bytes:
        index = [field.name for field in self.signature.manifest.client_inputs].index(name)
        return self.inferred[0].inputs[index]


def asked(members: dict[str, Any]) -> Call:
    """A call of a client that stays."""

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    made = call(orjson.dumps({"model": "voice", "input": "Hello.", "voice": "alloy"} | members))
    made.receive = receive
    return made


async def ask(speaker: Voice, **members: Any) -> Reply:
    return await Speech(speaker.dataplane, 60)(asked(members))


async def pieces(reply: Reply) -> list[bytes]:
    assert not isinstance(reply.body, bytes)
    return [piece async for piece in reply.body]


async def test_a_text_becomes_a_sound() -> None:
    """All its sentences in one file; the text and the speed reach the model."""
    voice = Voice(sentence(0.5), sentence(1))
    reply = await ask(voice, response_format="flac", speed=2)
    samples, rate = soundfile.read(io.BytesIO(b"".join(await pieces(reply))))
    assert (len(samples), rate, reply.content_type) == (36_000, 24_000, b"audio/flac")
    assert (b"x-model-version", b"3") in reply.headers
    assert unpack_bytes(voice.given("text"), 1) == [b"Hello."]
    assert np.frombuffer(voice.given("speed"), np.float32).tolist() == [2]
    assert voice.open == 0


@pytest.mark.parametrize(
    ("members", "content_type"),
    [
        ({}, b"audio/mpeg"),
        ({"response_format": "mp3"}, b"audio/mpeg"),
        ({"response_format": "opus"}, b"audio/ogg; codecs=opus"),
        ({"response_format": "wav"}, b"audio/wav"),
        ({"response_format": "pcm"}, b"audio/pcm"),
    ],
)
async def test_each_format_has_its_content_type(members: dict[str, Any], content_type: bytes) -> None:
    """MP3 if none is asked for, as OpenAI has it."""
    reply = await ask(Voice(sentence()), **members)
    assert reply.content_type == content_type
    assert len(b"".join(await pieces(reply))) > 500


async def test_a_sentence_is_sent_before_the_next_is_spoken() -> None:
    """The answer begins with the first one; leaving it ends the model's stream."""
    voice = Voice(sentence(), sentence())
    reply = await ask(voice, response_format="pcm")
    assert not isinstance(reply.body, bytes)
    assert len(await anext(reply.body)) > 20_000
    assert (voice.spoken, voice.open) == (1, 1)
    await reply.body.aclose()
    assert (voice.spoken, voice.open) == (1, 0)


async def test_events_have_the_sound_in_base64() -> None:
    """Those of OpenAI; together they are the file."""
    reply = await ask(Voice(sentence(), sentence()), response_format="wav", stream_format="sse")
    assert reply.content_type == b"text/event-stream"
    events = [orjson.loads(piece.removeprefix(b"data: ")) for piece in await pieces(reply)]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 3 + ["speech.audio.done"]
    file = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert len(soundfile.read(io.BytesIO(file))[0]) == 24_000


async def test_an_error_before_the_first_sound_is_an_ordinary_one() -> None:
    """After it, the answer breaks off; a stream of events ends with OpenAI's error."""
    failure = PenstockError(503, "overloaded", "Later.")
    with pytest.raises(PenstockError, match="Later"):
        await ask(Voice(failure))
    reply = await ask(Voice(sentence(), failure))
    with pytest.raises(PenstockError, match="Later"):
        await pieces(reply)
    reply = await ask(Voice(sentence(), failure), stream_format="sse")
    assert (await pieces(reply))[-1].startswith(b'event: error\ndata: {"error":{"message":"Later."')


async def test_a_voice_goes_to_a_model_that_has_several() -> None:
    """By name or as an object with an id; one that the model does not have is refused, with those that there are."""
    for named in ("bob", {"id": "bob"}):
        voice = Voice(sentence(), fields=(TEXT, VOICE))
        await pieces(await ask(voice, voice=named))
        assert unpack_bytes(voice.given("voice"), 1) == [b"bob"]
    with pytest.raises(PenstockError, match=r"voice.*ann"):
        await ask(Voice(sentence(), fields=(TEXT, VOICE)))


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"response_format": "aac"}, "response_format"),
        ({"response_format": "ogg"}, "response_format"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.1}, "speed"),
        ({"input": ""}, "input"),
        ({"input": "a" * 41}, "input"),
        ({"input": "a" * 4097}, "input"),
        ({"instructions": "Whisper."}, "instructions"),
        ({"stream_format": "websocket"}, "stream_format"),
        ({"voice": 7}, "voice"),
    ],
)
async def test_what_cannot_be_carried_out_is_refused(members: dict[str, Any], param: str) -> None:
    """With 400, naming the member; nothing reaches the model."""
    voice = Voice(sentence())
    with pytest.raises(PenstockError) as caught:
        await ask(voice, **members)
    assert (caught.value.status, caught.value.extra, voice.inferred) == (400, {"field": param}, [])


async def test_a_speed_needs_a_model_that_takes_one() -> None:
    """The usual one needs nothing."""
    await ask(Voice(sentence(), fields=(TEXT,)), speed=1)
    with pytest.raises(PenstockError, match="speed: 'voice' speaks at one speed"):
        await ask(Voice(sentence(), fields=(TEXT,)), speed=1.5)


async def test_a_model_that_does_not_speak_is_refused() -> None:
    """Samples without a head do not say how fast they are."""
    with pytest.raises(PenstockError, match="model: 'voice' does not speak"):
        await ask(Voice(output=Output("audio", "FP32", [-1])))


@pytest.mark.parametrize(
    "sentences",
    [
        (),
        (b"",),
        (b"RIFF",),
        (sentence()[:20],),
        (sentence(), sentence(rate=16_000)),
        (wav_file(np.zeros(10), 500),),
    ],
)
async def test_a_bad_sound_is_the_models_fault(sentences: tuple[bytes, ...]) -> None:
    """None at all, no WAV file, another rate on the way, or one that no sound has."""
    with pytest.raises(PenstockError) as caught:
        await pieces(await ask(Voice(*sentences)))
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")
