"""Turns encoded images (PNG, JPEG, WebP) into tensors of pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest

_MAX_PIXELS = 50_000_000


def image(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Return one image field as ``float32 [N, C, H, W]``.

    The image is decoded in ``mode`` (L or RGB), resized to ``size`` [H, W] and scaled to 0..1;
    black and white are swapped if ``invert``; the result is ``(x - mean) / std``.

    Raises:
        PenstockError: 422 ``invalid-input`` if an image cannot be decoded or is too large.
    """
    field = manifest.inputs[0]
    height, width = params["size"]
    mode = params.get("mode", "RGB")
    channels = len(mode)
    batch = np.empty((len(inputs[field.name]), channels, height, width), dtype=np.float32)
    for i, data in enumerate(inputs[field.name].tolist()):
        batch[i] = _decode(field.name, data, mode, height, width)
    batch /= 255.0
    if params.get("invert", False):
        batch = 1.0 - batch
    return [((batch - params.get("mean", 0.0)) / params.get("std", 1.0)).astype(np.float32, copy=False)]


def _decode(field: str, data: bytes, mode: str, height: int, width: int) -> NDArray[np.float32]:
    """Return one image on a white background as ``float32 [C, H, W]``, 0 to 255."""
    # Imported here because only the services that run image models depend on Pillow; this package does not.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            # A few kilobytes can unpack to gigapixels; the header has the size before the pixels are decoded.
            if opened.width * opened.height > _MAX_PIXELS:
                raise PenstockError(
                    422,
                    "invalid-input",
                    f"{field}: the image has more than {_MAX_PIXELS // 1_000_000} million pixels; send a smaller one.",
                )
            decoded = opened.convert("RGBA")
        background = Image.new("RGBA", decoded.size, (255, 255, 255, 255))
        pixels = Image.alpha_composite(background, decoded).convert(mode)
        resized = pixels.resize((width, height), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise PenstockError(
            422, "invalid-input", f"{field}: the image cannot be decoded; send a whole PNG, JPEG or WebP file."
        ) from None
    return np.asarray(resized, dtype=np.float32).reshape(height, width, len(mode)).transpose(2, 0, 1)
