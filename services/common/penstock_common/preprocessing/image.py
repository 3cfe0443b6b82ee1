"""Turns encoded images (PNG, JPEG, WebP) into tensors of pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step, only_field

_MAX_PIXELS = 50_000_000
_Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class ImageParams(msgspec.Struct, forbid_unknown_fields=True):
    """``size`` is [height, width]; ``mean`` and ``std`` are a number, or one for each channel."""

    size: tuple[_Side, _Side]
    mode: Literal["L", "RGB"] = "RGB"
    invert: bool = False
    mean: float | list[float] = 0.0
    std: float | list[float] = 1.0

    def __post_init__(self) -> None:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, list) and len(value) != len(self.mode):
                raise ValueError(f"{name} has {len(value)} numbers, mode {self.mode} has {len(self.mode)} channels")
        if np.any(np.less_equal(self.std, 0)):
            raise ValueError(f"std {self.std} is not above 0")


def _image(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: ImageParams) -> list[NDArray[Any]]:
    """Return one image field as ``float32 [N, C, H, W]``.

    The image is decoded in ``mode``, resized to ``size`` and scaled to 0..1; black and
    white are swapped if ``invert``; the result is ``(x - mean) / std``.

    Raises:
        PenstockError: 422 ``invalid-input`` if an image cannot be decoded or is too large.
    """
    field = manifest.client_inputs[0]
    height, width = params.size
    batch = np.empty((len(inputs[field.name]), len(params.mode), height, width), dtype=np.float32)
    for i, data in enumerate(inputs[field.name].tolist()):
        batch[i] = _decode(field.name, data, params.mode, height, width)
    batch /= 255.0
    if params.invert:
        batch = 1.0 - batch
    mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (params.mean, params.std))
    return [((batch - mean) / std).astype(np.float32, copy=False)]


def _tensors(manifest: Manifest, params: ImageParams) -> list[ModelTensor]:
    field = only_field(manifest, FieldKind.IMAGE)
    return [ModelTensor(field.source or field.name, "FP32", (len(params.mode), *params.size))]


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


IMAGE = Step(ImageParams, _tensors, _image)
