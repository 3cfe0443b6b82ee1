"""``POST /v1/audio/speech``: a text in, the sound of it out, encoded and sent sentence after sentence as it is spoken."""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from penstock_common.manifest import FieldKind, Manifest
from penstock_gateway.dataplane.dataplane import DataPlane, StreamedAnswer
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.event_stream import event_stream_reply
from penstock_gateway.protocols.openai.errors import bad_request, openai_error
from penstock_gateway.protocols.openai.request import ModelName, decode_request
from penstock_gateway.protocols.openai.sound_encoder import CONTENT_TYPES, SoundEncoder, SoundFormat
from penstock_gateway.signature.answer_tensors import answer_array, bad_answer
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

#: Characters of a text, as OpenAI has it.
MAX_INPUT = 4096

_TEXT, _VOICE, _SPEED, _AUDIO = "text", "voice", "speed", "audio"
#: Samples a second that a model's sound may have.
_LEAST_RATE, _MOST_RATE = 1_000, 192_000
#: Sounds that are encoded at once; it takes a core each.
_ENCODING = 2


class VoiceId(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(max_length=256)]


class SpeechRequest(msgspec.Struct):
    """A body of the route.

    Attributes:
        voice: what a model with several takes; OpenAI's clients always send one, which a model with one voice ignores.
    """

    model: ModelName
    input: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_INPUT)]
    voice: Annotated[str, msgspec.Meta(max_length=256)] | VoiceId | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, msgspec.Meta(ge=0.25, le=4)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    # Changes the answer, and nothing here carries it out.
    instructions: str | None = None


class Speech:
    """The handler of the route.

    Args:
        keep_alive_seconds: without a sound, after which a stream of events gets a comment.
    """

    def __init__(self, dataplane: DataPlane, keep_alive_seconds: float) -> None:
        self._dataplane = dataplane
        self._keep_alive_seconds = keep_alive_seconds
        self._encoding = asyncio.Semaphore(_ENCODING)
        self._decoder = msgspec.json.Decoder(SpeechRequest)

    async def __call__(self, call: Call) -> Reply:
        request = decode_request(self._decoder, call.body)
        if request.instructions:
            text = "instructions: is not supported here; leave it out."
            raise bad_request(text, "instructions", "unsupported-parameter")
        format_ = _format(request)

        def rows(_: Call, signature: Signature) -> Rows:
            return signature.decoder.decode_json(orjson.dumps(_inputs(request, signature)))

        answer = await self._dataplane.stream(call, request.model, "", rows)
        sound = self._sound(answer, format_)
        with self._dataplane.cancelling_on_disconnect(call):
            if request.stream_format == "sse":
                reply = await event_stream_reply(_events(sound), self._keep_alive_seconds, openai_error)
            else:
                reply = await _begun(sound, CONTENT_TYPES[format_])
        return answer.begun(reply)

    async def _sound(self, answer: StreamedAnswer, format_: SoundFormat) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the file.

        Raises:
            PenstockError: what the chunks raise; 500 ``bad-model-answer``.
        """
        encoder: SoundEncoder | None = None
        rate = 0
        async with aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                samples, own = _samples(answer, chunk)
                if encoder is None:
                    rate = own
                    encoder = SoundEncoder(format_, rate)
                if own != rate:
                    raise bad_answer(answer.servable.model, f"sounds of {rate} and of {own} samples a second")
                async with self._encoding:
                    piece = await asyncio.to_thread(encoder.encode, samples)
                if piece:
                    yield piece
        if encoder is None:
            raise bad_answer(answer.servable.model, "no sound")
        async with self._encoding:
            yield await asyncio.to_thread(encoder.finish)


def speaks(manifest: Manifest) -> bool:
    """Whether a model makes a sound of a text."""
    texts = [field for field in manifest.client_inputs if field.name == _TEXT and field.kind is FieldKind.TEXT]
    return bool(texts) and any(o.name == _AUDIO and o.datatype == "BYTES" and not o.shape for o in manifest.outputs)


def _format(request: SpeechRequest) -> SoundFormat:
    if request.response_format == "aac":
        others = ", ".join(SoundFormat)
        text = f"response_format: aac is not supported here; ask for one of {others}."
        raise bad_request(text, "response_format", "unsupported-parameter")
    return SoundFormat(request.response_format)


def _inputs(request: SpeechRequest, signature: Signature) -> dict[str, Any]:
    """The model's inputs for a request.

    Raises:
        PenstockError: 400 ``invalid-request`` if it does not speak, or cannot do what is asked.
    """
    if not speaks(signature.manifest):
        raise bad_request(f"model: '{signature.model}' does not speak; GET /v1/models lists the models.", "model")
    fields = {field.name: field for field in signature.manifest.client_inputs}
    longest = fields[_TEXT].max_length
    if longest is not None and len(request.input) > longest:
        raise bad_request(f"input: has {len(request.input)} characters; '{signature.model}' takes {longest}.", "input")
    inputs: dict[str, Any] = {_TEXT: request.input}
    if _SPEED in fields:
        inputs[_SPEED] = request.speed
    elif request.speed != 1:
        text = f"speed: '{signature.model}' speaks at one speed; leave it out."
        raise bad_request(text, _SPEED, "unsupported-parameter")
    if _VOICE in fields and request.voice is not None:
        inputs[_VOICE] = request.voice.id if isinstance(request.voice, VoiceId) else request.voice
    return inputs


def _samples(answer: StreamedAnswer, chunk: RawOutputs) -> tuple[NDArray[np.int16], int]:
    """The samples of a chunk, ``[n]``, and how many of them are a second."""
    model = answer.servable.model
    outputs = answer.servable.signature.manifest.outputs
    index = next(i for i, output in enumerate(outputs) if output.name == _AUDIO)
    file = bytes(answer_array(chunk, index, outputs[index], 1, model).item())
    try:
        with wave.open(io.BytesIO(file)) as sound:
            rate = sound.getframerate()
            if (sound.getnchannels(), sound.getsampwidth()) != (1, 2) or not _LEAST_RATE <= rate <= _MOST_RATE:
                raise wave.Error
            return np.frombuffer(sound.readframes(sound.getnframes()), "<i2"), rate
    except (wave.Error, EOFError, ValueError):
        raise bad_answer(model, f"'{_AUDIO}' that is not a WAV file of 16 bits and one channel") from None


async def _begun(sound: AsyncGenerator[bytes, None], content_type: bytes) -> Reply:
    """The reply with the pieces of a sound, once the first is there.

    Raises:
        PenstockError: what the first piece raised.
    """
    try:
        first = await anext(sound)
    except BaseException:
        await sound.aclose()
        raise

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(sound):
            yield first
            async for piece in sound:
                yield piece

    return Reply(body(), content_type)


async def _events(sound: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield OpenAI's events of a sound; its usage counts tokens, which speech here does not have."""
    async with aclosing(sound):
        async for piece in sound:
            yield orjson.dumps({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield orjson.dumps({"type": "speech.audio.done", "usage": usage})
