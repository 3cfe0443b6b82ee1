"""Sounds are encoded as they come; the pieces are one file that others decode."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from penstock_gateway.protocols.openai.sound_encoder import SAMPLE_RATE, DrainedFile, SoundEncoder, SoundFormat

RATE = 22_050


def tone(seconds: float, rate: int = RATE) -> NDArray[np.int16]:
    """A tone of 440 Hz."""
    at = np.arange(round(seconds * rate)) / rate
    return np.rint(8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)


def encoded(format_: SoundFormat, samples: NDArray[np.int16], parts: int = 1, rate: int = RATE) -> list[bytes]:
    encoder = SoundEncoder(format_, rate)
    pieces = [encoder.encode(part) for part in np.array_split(samples, parts)]
    return [*pieces, encoder.finish()]


def decoded(format_: SoundFormat, file: bytes) -> NDArray[np.float64]:
    if format_ is SoundFormat.PCM:
        return np.frombuffer(file, "<i2") / 32768
    samples, rate = soundfile.read(io.BytesIO(file))
    assert rate == SAMPLE_RATE
    return np.asarray(samples)


@pytest.mark.parametrize("format_", SoundFormat)
def test_the_pieces_are_a_file_of_the_format(format_: SoundFormat) -> None:
    """Decoded, it is the tone that went in, as long as that was."""
    samples = decoded(format_, b"".join(encoded(format_, tone(2), parts=3)))
    assert len(samples) / SAMPLE_RATE == pytest.approx(2, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples[4800:43200]))
    assert np.argmax(spectrum) * SAMPLE_RATE / 38400 == pytest.approx(440, abs=1)
    assert np.abs(samples[4800:43200]).max() == pytest.approx(8000 / 32768, rel=0.1)


@pytest.mark.parametrize("format_", [f for f in SoundFormat if f is not SoundFormat.FLAC])
def test_sound_is_there_before_the_end(format_: SoundFormat) -> None:
    """Most of a part has left before the next one comes, so that a listener need not wait; FLAC comes whole."""
    first, *_, last = encoded(format_, tone(10), parts=2)
    assert len(first) > len(last)
    assert len(decoded(format_, first)) > 3 * SAMPLE_RATE


@pytest.mark.parametrize("format_", [SoundFormat.WAV, SoundFormat.PCM, SoundFormat.FLAC])
def test_what_has_no_loss_is_the_same_in_any_parts(format_: SoundFormat) -> None:
    """Samples at the rate of the answer are not touched."""
    samples = tone(1, SAMPLE_RATE)
    for parts in (1, 7):
        file = b"".join(encoded(format_, samples, parts, SAMPLE_RATE))
        np.testing.assert_array_equal(np.rint(decoded(format_, file) * 32768), samples)


def test_what_has_left_a_file_cannot_be_changed() -> None:
    """An encoder that goes back to the head changes what is still there."""
    file = DrainedFile()
    file.write(b"head")
    assert file.drain() == b"head"
    file.write(b"tail")
    assert (file.seek(2), file.write(b"XXYY"), file.tell()) == (2, 4, 6)
    assert (file.seek(-1, 2), file.read()) == (7, b"l")
    assert (file.seek(0), file.read()) == (0, b"")
    assert file.drain() == b"YYil"
