"""Turns encoded images (PNG, JPEG, WebP) into tensors of pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step, only_field

#: Of an image that is decoded.
MAX_PIXELS = 50_000_000
_Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Resize(StrEnum):
    """Pillow's filters. All but ``nearest`` use every pixel of what they make smaller."""

    BOX = "box"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"
    NEAREST = "nearest"


class ImageParams(msgspec.Struct, forbid_unknown_fields=True):
    """``size`` is [height, width]; ``mean`` and ``std`` are a number, or one for each channel, in their order.

    ``crop``: the shorter side is resized to this and the middle of ``size`` is cut out; else all is resized to ``size``.
    """

    size: tuple[_Side, _Side]
    crop: _Side | None = None
    resize: Resize = Resize.BOX
    mode: Literal["L", "RGB", "BGR"] = "RGB"
    layout: Literal["CHW", "HWC"] = "CHW"
    invert: bool = False
    mean: float | list[float] = 0.0
    std: float | list[float] = 1.0

    def __post_init__(self) -> None:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, list) and len(value) != len(self.mode):
                raise ValueError(f"{name} has {len(value)} numbers, mode {self.mode} has {len(self.mode)} channels")
        if np.any(np.less_equal(self.std, 0)):
            raise ValueError(f"std {self.std} is not above 0")
        if self.crop is not None and self.crop < max(self.size):
            raise ValueError(f"crop {self.crop} is less than a side of size {list(self.size)}, which is cut out of it")


def _image(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: ImageParams, folder: Path
) -> list[NDArray[Any]]:
    """Return one image field as ``float32 [N, C, H, W]``, or ``[N, H, W, C]`` as ``layout`` says.

    The image is decoded in ``mode``, resized, cropped and scaled to 0..1; black and
    white are swapped if ``invert``; the result is ``(x - mean) / std``.

    Raises:
        PenstockError: 422 ``invalid-input`` if an image cannot be decoded or is too large.
    """
    field = manifest.client_inputs[0]
    height, width = params.size
    batch = np.empty((len(inputs[field.name]), len(params.mode), height, width), dtype=np.float32)
    for i, data in enumerate(inputs[field.name].tolist()):
        batch[i] = _decode(field.name, data, params)
    batch /= 255.0
    if params.invert:
        batch = 1.0 - batch
    mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (params.mean, params.std))
    batch = ((batch - mean) / std).astype(np.float32, copy=False)
    return [batch if params.layout == "CHW" else np.ascontiguousarray(batch.transpose(0, 2, 3, 1))]


def _tensors(manifest: Manifest, params: ImageParams) -> list[ModelTensor]:
    field = only_field(manifest, FieldKind.IMAGE)
    channels = (len(params.mode),)
    shape = (*channels, *params.size) if params.layout == "CHW" else (*params.size, *channels)
    return [ModelTensor(field.source or field.name, "FP32", shape)]


def _decode(field: str, data: bytes, params: ImageParams) -> NDArray[np.float32]:
    """Return one image on a white background as ``float32 [C, H, W]``, 0 to 255."""
    # Imported here because only the services that run image models depend on Pillow; this package does not.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            # A few kilobytes can unpack to gigapixels; the header has the size before the pixels are decoded.
            if opened.width * opened.height > MAX_PIXELS:
                raise PenstockError(
                    422,
                    "invalid-input",
                    f"{field}: the image has more than {MAX_PIXELS // 1_000_000} million pixels; send a smaller one.",
                )
            decoded = opened.convert("RGBA")
        background = Image.new("RGBA", decoded.size, (255, 255, 255, 255))
        pixels = Image.alpha_composite(background, decoded).convert("L" if params.mode == "L" else "RGB")
        resized = _resized(pixels, params)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise PenstockError(
            422, "invalid-input", f"{field}: the image cannot be decoded; send a whole PNG, JPEG or WebP file."
        ) from None
    height, width = params.size
    array = np.asarray(resized, dtype=np.float32).reshape(height, width, len(params.mode)).transpose(2, 0, 1)
    return array[::-1] if params.mode == "BGR" else array


def _resized(pixels: Any, params: ImageParams) -> Any:
    """Return a Pillow image of ``size``."""
    from PIL import Image

    height, width = params.size
    resampling = Image.Resampling[params.resize.name]
    if params.crop is None:
        return pixels.resize((width, height), resampling)
    shorter = min(pixels.size)
    # As torchvision's Resize and CenterCrop do it.
    across, down = (max(params.crop, int(params.crop * side / shorter)) for side in pixels.size)
    left, top = round((across - width) / 2), round((down - height) / 2)
    return pixels.resize((across, down), resampling).crop((left, top, left + width, top + height))


IMAGE = Step(ImageParams, _tensors, _image)
