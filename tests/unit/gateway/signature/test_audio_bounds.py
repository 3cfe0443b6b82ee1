"""Sounds are refused by what their headers say, before any of them is decoded."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.audio_check import AudioCheck
from penstock_gateway.signature.audio_header import audio_seconds
from penstock_gateway.signature.json_schema import form_schema, row_schema
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS
from penstock_gateway.signature.row_decoder import RowDecoder
from tests.unit.gateway.signature.refused_files import json_rows, refusals

AUDIO = Field("sound", FieldKind.AUDIO, "BYTES", max_seconds=20)
MANIFEST = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [AUDIO], [Output("y", "FP32")])
DECODER = RowDecoder(MANIFEST)


def sound(seconds: float, format_: str = "WAV", subtype: str | None = None, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (int(seconds * rate), 2))
    soundfile.write(file, noise, rate, format=format_, subtype=subtype)
    return file.getvalue()


def body(*sounds: bytes) -> bytes:
    return json_rows("sound", sounds)


def refused(*sounds: bytes) -> PenstockError:
    """The error for these rows, the same as JSON and as a tensor."""
    as_json, _ = refusals(DECODER, AudioCheck(AUDIO, DEFAULT_BOUNDS), sounds)
    assert as_json.extra["field"] == "sound"
    return as_json


@pytest.mark.parametrize(
    ("format_", "subtype", "rate"),
    [
        ("WAV", "PCM_16", 44100),
        ("WAV", "FLOAT", 8000),
        ("WAV", "IMA_ADPCM", 8000),
        ("WAVEX", "PCM_24", 48000),
        ("FLAC", "PCM_16", 16000),
        ("OGG", "VORBIS", 22050),
        ("OGG", "OPUS", 24000),
        ("MP3", None, 44100),
        ("MP3", None, 22050),
        ("MP3", None, 8000),
    ],
)
def test_seconds_of_a_header(format_: str, subtype: str | None, rate: int) -> None:
    """They are those that the sound has, but for what an encoder adds."""
    assert audio_seconds(sound(3, format_, subtype, rate)) == pytest.approx(3, abs=0.2)


def test_an_mp3_after_its_tags_and_without_a_count() -> None:
    """Tags are skipped; without a count of frames, the bit rate decides."""
    data = sound(3, "MP3", None, 44100)
    tag = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    assert audio_seconds(tag + data) == audio_seconds(data)
    uncounted = b"\xff\xfb\x90\x00" + bytes(128_000 // 8 * 5 - 4)
    assert audio_seconds(uncounted) == pytest.approx(5)


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 600,
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"fLaC",
        b"fLaC\0\0\0\x22" + bytes(34),
        b"OggS",
        b"OggS" + bytes(22) + b"\x01\x1eOpusHead",
        b"ID3",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"\xff\xfb",
    ],
)
def test_a_broken_header_says_nothing(data: bytes) -> None:
    """It ends early, lacks a rate or goes on without end: no length, and no exception."""
    assert audio_seconds(data) is None


def test_each_way_in() -> None:
    """A sound arrives as base64, with or without a data URL's prefix, as a form's file and as a tensor's element."""
    data = sound(0.1, "FLAC")
    encoded = base64.b64encode(data).decode()
    for text in (encoded, f"data:audio/flac;base64,{encoded}"):
        assert DECODER.decode_json(msgspec.json.encode({"sound": text})).inputs == [pack_bytes([data])]
    assert DECODER.decode_form({"sound": data}).inputs == [pack_bytes([data])]
    array = np.empty(1, dtype=np.object_)
    array[0] = data
    assert AudioCheck(AUDIO, DEFAULT_BOUNDS).array(array) == pack_bytes([data])


def test_a_sound_that_is_too_long() -> None:
    """20 seconds pass, 21 do not; the refusal names the bound."""
    assert DECODER.decode_json(body(sound(20))).count == 1
    error = refused(sound(21))
    assert (error.status, error.code) == (413, "audio-too-large")
    assert "has 21.0 seconds, 20 are allowed" in error.detail


def test_the_rows_of_a_request_share_a_budget() -> None:
    """An hour in all; a sound whose header does not say counts as the longest that there may be."""
    unknown = bytearray(sound(0.1, "FLAC"))
    unknown[8 + 13] &= 0xF0  # the upper bits of the number of samples
    unknown[8 + 14 : 8 + 18] = bytes(4)
    assert audio_seconds(bytes(unknown)) is None
    assert DECODER.decode_json(body(*[bytes(unknown)] * 180)).count == 180
    error = refused(*[bytes(unknown)] * 181)
    assert (error.status, error.code) == (413, "audio-too-large")
    assert "3,620.0 seconds" in error.detail


def test_too_many_bytes() -> None:
    """The bound is the field's max_length, or 10 MB."""
    decoder = RowDecoder(msgspec.structs.replace(MANIFEST, inputs=[msgspec.structs.replace(AUDIO, max_length=1000)]))
    with pytest.raises(PenstockError, match="1000 are allowed") as caught:
        decoder.decode_form({"sound": sound(1)})
    assert (caught.value.status, caught.value.code) == (413, "audio-too-large")


@pytest.mark.parametrize("data", [sound(0.1, "AIFF"), b"\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n", b""])
def test_another_format(data: bytes) -> None:
    """It is 415, and the refusal names those that are read."""
    error = refused(data)
    assert (error.status, error.code) == (415, "unsupported-audio")
    assert "send WAV, FLAC, OGG or MP3" in error.detail


@pytest.mark.parametrize("format_", ["WAV", "FLAC", "OGG", "MP3"])
def test_base64_in_a_tensor_is_explained(format_: str) -> None:
    """A sound as base64 text in a tensor is 415, with what to send instead."""
    array = np.empty(1, dtype=np.object_)
    array[0] = base64.b64encode(sound(0.1, format_))
    with pytest.raises(PenstockError, match="is not a sound") as caught:
        AudioCheck(AUDIO, DEFAULT_BOUNDS).array(array)
    assert "binary_data_size" in caught.value.detail


@pytest.mark.parametrize("value", [1, None, "no base64!", [1]])
def test_what_is_no_file(value: Any) -> None:
    """Neither a number nor other text is."""
    with pytest.raises(PenstockError) as caught:
        DECODER.decode_json(msgspec.json.encode({"sound": value}))
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def test_the_documentation_names_the_bounds() -> None:
    """In JSON it is base64, in a form a file."""
    as_json, as_form = (schema(MANIFEST)["properties"]["sound"] for schema in (row_schema, form_schema))
    assert (as_json["contentEncoding"], as_json["contentMediaType"]) == ("base64", "audio/wav")
    assert as_form["format"] == "binary"
    for schema in (as_json, as_form):
        assert "WAV, FLAC, OGG or MP3 of at most 10,000,000 bytes and 20 seconds" in schema["description"]


def test_a_length_that_is_a_lie() -> None:
    """Sizes beyond the file's end count as far as there is something."""
    wav = bytearray(sound(1))
    at = wav.index(b"data")
    wav[at + 4 : at + 8] = struct.pack("<I", 2**32 - 1)
    assert audio_seconds(bytes(wav)) == pytest.approx(1)
