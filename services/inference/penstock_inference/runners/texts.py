"""BYTES as the texts that a framework takes and gives: ``str`` objects, in UTF-8 on the wire."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def texts(array: NDArray[Any]) -> NDArray[Any]:
    """Return BYTES as ``str`` objects, anything else as it is. Raises UnicodeDecodeError."""
    if not array.dtype.hasobject:
        return array
    decoded = np.empty(array.size, dtype=np.object_)
    decoded[:] = [element.decode() for element in array.ravel().tolist()]
    return decoded.reshape(array.shape)


def encoded(array: NDArray[Any]) -> NDArray[Any]:
    """Return texts as BYTES, anything else as it is."""
    if array.dtype.kind not in "OU":
        return array
    encoded = np.empty(array.size, dtype=np.object_)
    encoded[:] = [str(text).encode() for text in array.ravel().tolist()]
    return encoded.reshape(array.shape)
