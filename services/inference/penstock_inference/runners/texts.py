"""BYTES as the texts that a framework takes and gives: ``str`` objects, in UTF-8 on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable
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


def text_column(column: Iterable[str]) -> NDArray[Any]:
    """Return BYTES with a text for each row."""
    elements = [text.encode() for text in column]
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array


def json_column(column: Iterable[Any]) -> NDArray[Any]:
    """Return BYTES with a JSON document for each row."""
    return text_column(json.dumps(value, ensure_ascii=False) for value in column)


def encoded(array: NDArray[Any]) -> NDArray[Any]:
    """Return texts as BYTES, anything else as it is."""
    if array.dtype.kind not in "OU":
        return array
    return text_column(map(str, array.ravel().tolist())).reshape(array.shape)
