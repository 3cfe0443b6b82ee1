"""Decodes sounds (WAV, FLAC, OGG, MP3) into samples of one channel at the rate that a model takes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from penstock_common.audio_format import AUDIO_FORMATS, audio_format

#: As libsndfile names them.
_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")
_MOST_CHANNELS = 8
_LEAST_RATE, _MOST_RATE = 1_000, 384_000
#: Samples of each channel that are decoded at once.
_BLOCK = 65_536


def decode_audio(data: bytes, sample_rate: int, most_seconds: float) -> NDArray[np.float32]:
    """Return a sound as samples ``[n]`` from -1 to 1, ``sample_rate`` of them a second; channels are averaged.

    It is decoded by libsndfile and resampled by soxr, block by block: memory is that of the result.

    Raises:
        ValueError: it is none of the formats, damaged, empty, longer than ``most_seconds``, or has numbers that are not
            finite, more than 8 channels, or a rate that is not between 1,000 and 384,000.
    """
    # Imported here because only the services that run models of sounds depend on them; this package does not.
    import soundfile
    import soxr

    if audio_format(data) is None:
        raise ValueError(f"this is not a sound that this service reads; send {AUDIO_FORMATS}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            _check(file.format, file.channels, rate)
            stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
            blocks = []
            count = 0
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                count += len(block)
                if count > most_seconds * rate:
                    raise ValueError(f"the sound is longer than {most_seconds:g} seconds; send it in parts")
                blocks.append(stream.resample_chunk(block.mean(axis=1)))
            blocks.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    except soundfile.LibsndfileError:
        raise ValueError(f"the sound cannot be decoded; send a whole {AUDIO_FORMATS} file") from None
    samples = np.concatenate(blocks)
    if not len(samples):
        raise ValueError("the sound has no samples; send a sound that is not empty")
    if not np.isfinite(samples).all():
        raise ValueError("the sound has samples that are not finite numbers; send numbers from -1 to 1")
    return samples


def _check(format_: str, channels: int, rate: int) -> None:
    if format_ not in _FORMATS:  # for example, what follows the tag of an MP3 file
        raise ValueError(f"the sound is a file of {format_}; send {AUDIO_FORMATS}")
    if channels > _MOST_CHANNELS:
        raise ValueError(f"the sound has {channels} channels, {_MOST_CHANNELS} are allowed; send one or two")
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise ValueError(f"the sound has {rate} samples a second; {_LEAST_RATE} to {_MOST_RATE} are allowed")
