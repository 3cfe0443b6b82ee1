"""Encodes a sound as it comes: the pieces, joined, are one file that any player reads.

libsndfile writes FLAC, Opus and MP3. At the end it goes back to a file's head and notes there how long the sound is. A head
that has been sent stays as it is, which does not matter to Opus and MP3; FLAC comes whole at the end, since many readers take
its length from the head.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

#: Samples a second of every format, as OpenAI has it; ``pcm`` does not say.
SAMPLE_RATE = 24_000
_SAMPLE_BYTES = 2
#: A size that is not known yet, of a WAV file that is streamed.
_UNKNOWN = 0xFFFFFFFF


class SoundFormat(StrEnum):
    """16 bits, one channel."""

    WAV = "wav"
    FLAC = "flac"
    OPUS = "opus"
    MP3 = "mp3"
    PCM = "pcm"  # little-endian, without a head


CONTENT_TYPES = {
    SoundFormat.WAV: b"audio/wav",
    SoundFormat.FLAC: b"audio/flac",
    SoundFormat.OPUS: b"audio/ogg; codecs=opus",  # RFC 7845, section 9
    SoundFormat.MP3: b"audio/mpeg",
    SoundFormat.PCM: b"audio/pcm",
}
#: Format and subtype as libsndfile names them, and options. At a constant rate, 80 kbit/s, players know how long an MP3 is.
_LIBSNDFILE: dict[SoundFormat, tuple[str, str, dict[str, Any]]] = {
    SoundFormat.FLAC: ("FLAC", "PCM_16", {}),
    SoundFormat.OPUS: ("OGG", "OPUS", {}),
    SoundFormat.MP3: ("MP3", "MPEG_LAYER_III", {"bitrate_mode": "CONSTANT", "compression_level": 0.5}),
}


class SoundEncoder:
    """Encodes one sound; its methods block, and are called one after the other, from any thread.

    Args:
        sample_rate: of the samples that it is given, a second.
    """

    def __init__(self, format_: SoundFormat, sample_rate: int) -> None:
        # At the rate that the samples have, it would still add a little noise.
        other_rate = sample_rate != SAMPLE_RATE
        self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="int16") if other_rate else None
        self._whole = format_ is SoundFormat.FLAC
        self._out = DrainedFile()
        self._file: soundfile.SoundFile | None = None
        if format_ in _LIBSNDFILE:
            name, subtype, options = _LIBSNDFILE[format_]
            self._file = soundfile.SoundFile(self._out, "w", SAMPLE_RATE, 1, subtype, format=name, **options)
        elif format_ is SoundFormat.WAV:
            self._out.write(_wav_head())

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        """Return what is there of the file after some more samples ``[n]``; perhaps nothing."""
        self._write(samples if self._resampler is None else self._resampler.resample_chunk(samples))
        return b"" if self._whole else self._out.drain()

    def finish(self) -> bytes:
        """Return the rest of the file."""
        if self._resampler is not None:
            self._write(self._resampler.resample_chunk(np.empty(0, np.int16), last=True))
        if self._file is not None:
            self._file.close()
        return self._out.drain()

    def _write(self, samples: NDArray[np.int16]) -> None:
        if self._file is not None:
            self._file.write(samples)
        else:
            self._out.write(samples.astype("<i2", copy=False).tobytes())


def _wav_head() -> bytes:
    """Return the head of a WAV file of unknown length."""
    byte_rate = SAMPLE_RATE * _SAMPLE_BYTES
    described = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, byte_rate, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + described + struct.pack("<4sI", b"data", _UNKNOWN)


class DrainedFile:
    """A file whose bytes are taken away as they are written; one that is gone cannot be changed any more."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._gone = 0  # bytes that were taken away
        self._at = 0

    def drain(self) -> bytes:
        waiting = bytes(self._waiting)
        self._gone += len(waiting)
        self._waiting.clear()
        return waiting

    def write(self, data: bytes) -> int:
        start = self._at - self._gone
        kept = data[max(0, -start) :]
        start = max(0, start)
        self._waiting[start : start + len(kept)] = kept
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._gone + len(self._waiting))[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        start = self._at - self._gone
        if start < 0:
            return b""
        data = bytes(self._waiting[start : start + count if count >= 0 else None])
        self._at += len(data)
        return data
