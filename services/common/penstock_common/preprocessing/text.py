"""Turns text fields into tensors of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest


def utf8_bytes(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Return one text field as ``uint8 [N, L]``: UTF-8 bytes, zero padded.

    ``L`` is the longest row rounded up to ``multiple`` (16) and cut at ``max_bytes`` (1024).
    """
    rows: list[bytes] = inputs[manifest.inputs[0].name].tolist()
    most: int = params.get("max_bytes", 1024)
    multiple: int = params.get("multiple", 16)
    longest = min(max(map(len, rows), default=0), most)
    width = max(multiple, -(-longest // multiple) * multiple)
    # ljust pads and the slice cuts, both in C; a single frombuffer then reads all rows.
    padded = b"".join([row.ljust(width, b"\0") if len(row) <= width else row[:width] for row in rows])
    return [np.frombuffer(bytearray(padded), dtype=np.uint8).reshape(len(rows), width)]
