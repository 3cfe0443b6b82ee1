"""Turns text fields into tensors of bytes."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step, only_field


class Utf8BytesParams(msgspec.Struct, forbid_unknown_fields=True):
    """``max_bytes``: of a text, the rest is cut off; a multiple of ``multiple``, to which the width is rounded up.

    ``normalize``: the form of Unicode that a text is brought to first. ``lower_capitals``: a text that is all capitals
    becomes small letters.
    """

    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1024
    multiple: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 16
    normalize: Literal["NFC"] | None = None
    lower_capitals: bool = False

    def __post_init__(self) -> None:
        if self.max_bytes % self.multiple:
            raise ValueError(f"max_bytes {self.max_bytes} is not a multiple of `multiple`, {self.multiple}")


def _utf8_bytes(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Utf8BytesParams, folder: Path
) -> list[NDArray[Any]]:
    """Return one text field as ``uint8 [N, L]``: UTF-8 bytes, zero padded.

    ``L`` is the longest row rounded up to ``multiple`` and at most ``max_bytes``.
    """
    rows: list[bytes] = inputs[manifest.client_inputs[0].name].tolist()
    if params.normalize is not None or params.lower_capitals:
        rows = [_normalized(row, params) for row in rows]
    multiple = params.multiple
    longest = min(max(map(len, rows), default=0), params.max_bytes)
    width = max(multiple, -(-longest // multiple) * multiple)
    # ljust pads and the slice cuts, both in C; a single frombuffer then reads all rows.
    padded = b"".join([row.ljust(width, b"\0") if len(row) <= width else row[:width] for row in rows])
    return [np.frombuffer(bytearray(padded), dtype=np.uint8).reshape(len(rows), width)]


def _normalized(row: bytes, params: Utf8BytesParams) -> bytes:
    """Return a text in its form; what is not UTF-8 stays as it is."""
    try:
        text = row.decode()
    except UnicodeDecodeError:
        return row
    if params.lower_capitals and text.isupper():
        text = text.lower()
    return (unicodedata.normalize(params.normalize, text) if params.normalize else text).encode()


def _tensors(manifest: Manifest, params: Utf8BytesParams) -> list[ModelTensor]:
    field = only_field(manifest, FieldKind.TEXT)
    return [ModelTensor(field.source or field.name, "UINT8", (-1,))]


UTF8_BYTES = Step(Utf8BytesParams, _tensors, _utf8_bytes)
