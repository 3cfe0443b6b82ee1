"""Log-mel features of sounds, as Whisper takes them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Energies below this are silence.
_LEAST_ENERGY = 1e-10
#: In decades: what is quieter than the loudest by more is cut off.
_RANGE = 8.0
#: Frames that are transformed at once, which bounds the memory.
_FRAMES = 3000

#: The mel scale of Slaney's Auditory Toolbox (1998): linear below 1 kHz, 27 steps for each factor of 6.4 above.
_HERTZ_A_MEL = 200 / 3
_LOGARITHMIC_FROM_HERTZ, _LOGARITHMIC_FROM_MEL = 1000.0, 15.0
_STEP = np.log(6.4) / 27


def log_mel(
    samples: NDArray[np.float32], sample_rate: int, *, n_mels: int, n_fft: int, hop: int
) -> NDArray[np.float32]:
    """Return the features ``float32 [n_mels, n // hop]`` of samples ``[n]``, one frame at least.

    A Hann window of ``n_fft`` samples around every ``hop``-th one, the ends mirrored; the power spectrum in Slaney's mel
    bands up to half of ``sample_rate``; then log10, cut off 8 below its maximum, as ``(x + 4) / 4`` (Radford et al.
    2022, section 2.2, as OpenAI's code and transformers' ``WhisperFeatureExtractor`` have it).
    """
    frames = max(len(samples) // hop, 1)
    needed = max(hop, n_fft // 2 + 1)  # less could not be mirrored
    if len(samples) < needed:
        samples = np.pad(samples, (0, needed - len(samples)))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(samples, n_fft // 2, mode="reflect"), n_fft)[::hop]
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    filters = _filters(sample_rate, n_mels, n_fft)
    energies = np.empty((n_mels, frames), np.float32)
    for start in range(0, frames, _FRAMES):
        chunk = windows[start : min(start + _FRAMES, frames)]
        power = np.abs(np.fft.rfft(chunk * window)) ** 2
        energies[:, start : start + len(chunk)] = filters @ power.T
    logarithms = np.log10(np.maximum(energies, _LEAST_ENERGY))
    features: NDArray[np.float32] = (np.maximum(logarithms, logarithms.max() - _RANGE) + 4) / 4
    return features


@cache
def _filters(sample_rate: int, n_mels: int, n_fft: int) -> NDArray[np.float32]:
    """Return the triangles ``[n_mels, n_fft // 2 + 1]`` of mel bands over frequencies, each of the area 1."""
    frequencies = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    edges = _hertz(np.linspace(0, _mel(sample_rate / 2), n_mels + 2))
    widths = np.diff(edges)
    slopes = edges[:, None] - frequencies
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    area = 2 / (edges[2:] - edges[:-2])
    return (triangles * area[:, None]).astype(np.float32)


def _mel(hertz: float) -> float:
    if hertz < _LOGARITHMIC_FROM_HERTZ:
        return hertz / _HERTZ_A_MEL
    return float(_LOGARITHMIC_FROM_MEL + np.log(hertz / _LOGARITHMIC_FROM_HERTZ) / _STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _LOGARITHMIC_FROM_HERTZ * np.exp(_STEP * (mels - _LOGARITHMIC_FROM_MEL))
    return np.where(mels < _LOGARITHMIC_FROM_MEL, mels * _HERTZ_A_MEL, above)
