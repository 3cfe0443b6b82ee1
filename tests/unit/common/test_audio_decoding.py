"""Encoded sounds become samples of one channel at one rate, and what is not such a sound is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from penstock_common.preprocessing.audio_decoding import decode_audio


def tone(rate: int, seconds: float = 2.0) -> NDArray[np.float32]:
    """Return 440 Hz with an amplitude of a half."""
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def encoded(samples: NDArray[np.float32], rate: int, format_: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format_, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format_", "subtype", "rate", "tolerance"),
    [
        ("WAV", "PCM_16", 44100, 1e-4),
        ("WAV", "PCM_U8", 8000, 0.01),
        ("WAV", "FLOAT", 22050, 1e-5),
        ("FLAC", "PCM_24", 96000, 1e-5),
        ("OGG", "VORBIS", 44100, 0.02),
        ("OGG", "OPUS", 48000, 0.02),
        ("MP3", None, 44100, 0.02),
    ],
)
def test_formats(format_: str, subtype: str | None, rate: int, tolerance: float) -> None:
    """Two channels of any rate become their mean at 16,000 samples a second, of the same length in seconds."""
    both = np.stack([tone(rate), 0.5 * tone(rate)], 1)
    samples = decode_audio(encoded(both, rate, format_, subtype), 16000, 10)
    assert samples.dtype == np.float32
    assert len(samples) == 32000
    np.testing.assert_allclose(samples[500:-2500], 0.75 * tone(16000)[500:-2500], atol=tolerance)


def test_blocks() -> None:
    """A sound that is decoded in several blocks has no seams: it is as if resampled at once."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000).astype(np.float32)
    samples = decode_audio(encoded(sound, 44100, "WAV", "FLOAT"), 16000, 10)
    np.testing.assert_allclose(samples, soxr.resample(sound, 44100, 16000), atol=1e-5)


def test_the_same_rate() -> None:
    """A sound that has the wanted rate is not changed."""
    sound = tone(16000)
    np.testing.assert_array_equal(decode_audio(encoded(sound, 16000, "WAV", "FLOAT"), 16000, 10), sound)


def test_too_long() -> None:
    """A few bytes of silence that unpack to hours are refused after the seconds that are allowed."""
    silence = encoded(np.zeros(16000 * 600, np.float32), 16000, "FLAC")
    assert len(silence) < 100_000
    with pytest.raises(ValueError, match="longer than 30 seconds"):
        decode_audio(silence, 16000, 30)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a sound that this service reads; send WAV, FLAC, OGG or MP3"),
        (encoded(tone(8000), 8000, "AIFF"), "not a sound"),
        (b"ID3\x04\0\0\0\0\0\0" + encoded(tone(8000), 8000, "AIFF"), "the sound is a file of AIFF|cannot be decoded"),
        (encoded(tone(8000), 8000, "FLAC")[:50], "cannot be decoded"),
        (b"OggS" + bytes(100), "cannot be decoded"),
        (encoded(np.zeros(0, np.float32), 8000, "WAV"), "no samples"),
        (encoded(np.array([0, np.nan], np.float32), 8000, "WAV", "FLOAT"), "not finite"),
        (encoded(np.zeros((10, 9), np.float32), 8000, "WAV"), "9 channels"),
        (encoded(np.zeros(10, np.float32), 500, "WAV"), "500 samples a second"),
    ],
    # The bytes would be names that differ from run to run: a WAV file of floats has the time in it.
    ids=["empty", "aiff", "aiff-behind-id3", "cut-flac", "ogg", "no-samples", "nan", "channels", "rate"],
)
def test_refused(data: bytes, reason: str) -> None:
    """What is not a sound of the four formats, is damaged, empty, not finite or odd is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        decode_audio(data, 8000, 10)
