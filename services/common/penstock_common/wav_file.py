"""Writes samples as a WAV file (RIFF, 16 bits, one channel)."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST = 2**15 - 1


def wav_file(samples: NDArray[Any], sample_rate: int) -> bytes:
    """Return a file of samples ``[n]``, finite numbers of which those beyond -1 and 1 are clipped.

    Args:
        sample_rate: samples a second.
    """
    numbers = np.rint(np.clip(samples.astype(np.float64), -1, 1) * _LARGEST).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(numbers.tobytes())
    return buffer.getvalue()
