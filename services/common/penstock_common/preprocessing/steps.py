"""Pre-processing by name: from a model's fields to the tensors its file takes.

``model.yaml`` names a step and its parameters; the steps are here, in one place
for training and for serving, so that both see the same numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest

Arrays = list[NDArray[Any]]
Step = Callable[[Manifest, Mapping[str, NDArray[Any]], Mapping[str, Any]], Arrays]


def preprocess(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """The positional tensors of a batch.

    Args:
        manifest: names the step; without one the inputs pass as they are, in order.
        inputs: per field an array ``[N, *shape]``; BYTES as object arrays of ``bytes``.

    Raises:
        PenstockError: 422 where a row cannot be read; 422 ``bad-manifest`` for an unknown step.
    """
    step = manifest.preprocess
    if step is None:
        return [inputs[field.name] for field in manifest.inputs]
    try:
        run = STEPS[step.name]
    except KeyError:
        known = ", ".join(sorted(STEPS))
        raise PenstockError(422, "bad-manifest", f"preprocess.name: {step.name!r} is none of {known}") from None
    return run(manifest, inputs, step.params)


def utf8_bytes(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Arrays:
    """One text field as ``uint8 [N, L]``: UTF-8 bytes, zero padded.

    ``L`` is the longest row rounded up to ``multiple`` (16) and cut at ``max_bytes`` (1024).
    """
    rows: list[bytes] = inputs[manifest.inputs[0].name].tolist()
    most: int = params.get("max_bytes", 1024)
    multiple: int = params.get("multiple", 16)
    longest = min(max(map(len, rows), default=0), most)
    width = max(multiple, -(-longest // multiple) * multiple)
    # ljust pads and the slice cuts, both in C; one frombuffer then reads all rows.
    padded = b"".join([row.ljust(width, b"\0") if len(row) <= width else row[:width] for row in rows])
    return [np.frombuffer(bytearray(padded), dtype=np.uint8).reshape(len(rows), width)]


def image(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Arrays:
    """One image field as ``float32 [N, C, H, W]``.

    Decoded in ``mode`` (L or RGB), resized to ``size`` [H, W], scaled to 0..1, turned
    round where ``invert``, then ``(x - mean) / std``.
    """
    from PIL import Image, UnidentifiedImageError

    field = manifest.inputs[0]
    height, width = params["size"]
    mode = params.get("mode", "RGB")
    channels = len(mode)
    batch = np.empty((len(inputs[field.name]), channels, height, width), dtype=np.float32)
    for i, data in enumerate(inputs[field.name].tolist()):
        try:
            # A few kilobytes can unpack to gigapixels; the size is known before the pixels are.
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
                if opened.width * opened.height > 50_000_000:
                    raise PenstockError(
                        422,
                        "invalid-input",
                        f"{field.name}: the image has more than 50 million pixels; send it smaller.",
                    )
                flat = opened.convert("RGBA")
            ground = Image.new("RGBA", flat.size, (255, 255, 255, 255))
            pixels = Image.alpha_composite(ground, flat).convert(mode).resize((width, height), Image.Resampling.BOX)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise PenstockError(
                422, "invalid-input", f"{field.name}: the image cannot be decoded; send a whole PNG, JPEG or WebP file."
            ) from None
        array = np.asarray(pixels, dtype=np.float32).reshape(height, width, channels)
        batch[i] = array.transpose(2, 0, 1)
    batch /= 255.0
    if params.get("invert", False):
        batch = 1.0 - batch
    return [((batch - params.get("mean", 0.0)) / params.get("std", 1.0)).astype(np.float32, copy=False)]


def tabular(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> Arrays:
    """Fields as ``float32 [N, numeric]`` and ``int64 [N, categorical]`` (index in ``categories``)."""
    numeric = [f for f in manifest.inputs if f.kind in (FieldKind.NUMBER, FieldKind.INTEGER, FieldKind.BOOLEAN)]
    categorical = [f for f in manifest.inputs if f.kind is FieldKind.CATEGORY]
    rows = len(inputs[manifest.inputs[0].name])
    numbers = np.empty((rows, len(numeric)), dtype=np.float32)
    for column, field in enumerate(numeric):
        numbers[:, column] = inputs[field.name]
    indices = np.empty((rows, len(categorical)), dtype=np.int64)
    for column, field in enumerate(categorical):
        index = {value.encode(): i for i, value in enumerate(field.categories or [])}
        for row, value in enumerate(inputs[field.name].tolist()):
            if value not in index:
                shown = value[:60].decode(errors="replace")
                raise PenstockError(
                    422, "invalid-input", f"{field.name}: {shown!r} is none of {', '.join(field.categories or [])}."
                )
            indices[row, column] = index[value]
    return [numbers, indices]


STEPS: dict[str, Step] = {"utf8-bytes": utf8_bytes, "image": image, "tabular": tabular}
