"""Turns encoded images (PNG, JPEG, WebP) into tensors of pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step, only_field
from penstock_common.tensors import NUMPY_DTYPES

#: Of an image that is decoded.
MAX_PIXELS = 50_000_000
_FORMATS = ("PNG", "JPEG", "WEBP")
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

    All of the image is resized to ``size``, unless one of these is set. ``crop``: the shorter side is resized to this and
    the middle of ``size`` is cut out. ``letterbox``: the image keeps its proportions and lies in the middle or the upper
    left corner of ``size``, on the grey ``fill`` (0 to 255).

    ``scale`` is what white becomes, before ``mean`` and ``std``.
    """

    size: tuple[_Side, _Side]
    crop: _Side | None = None
    letterbox: Literal["center", "corner"] | None = None
    fill: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114
    resize: Resize = Resize.BOX
    mode: Literal["L", "RGB", "BGR"] = "RGB"
    layout: Literal["CHW", "HWC"] = "CHW"
    datatype: Literal["FP16", "FP32", "UINT8"] = "FP32"
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
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
        if self.crop is not None and self.letterbox is not None:
            raise ValueError("crop cuts off what letterbox keeps; leave one of them out")
        if self.datatype == "UINT8" and (self.scale, self.mean, self.std) != (255.0, 0.0, 1.0):
            raise ValueError("datatype UINT8 is the pixels as they are; set scale: 255 and leave out mean and std")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in the tensor of a model, in pixels.

    Attributes:
        width, height: of the image that was sent.
        across, down: its width and height in the tensor, before anything is cut off.
        left, top: of its upper left corner in the tensor; below 0 if that is cut off.
    """

    width: int
    height: int
    across: int
    down: int
    left: int
    top: int


def placement(width: int, height: int, params: ImageParams) -> Placement:
    """Return where an image of a size is put."""
    rows, columns = params.size
    if params.crop is not None:
        # As torchvision's Resize and CenterCrop do it.
        shorter = min(width, height)
        across, down = (max(params.crop, int(params.crop * side / shorter)) for side in (width, height))
        return Placement(width, height, across, down, -round((across - columns) / 2), -round((down - rows) / 2))
    if params.letterbox is None:
        return Placement(width, height, columns, rows, 0, 0)
    ratio = min(columns / width, rows / height)
    across, down = max(1, round(width * ratio)), max(1, round(height * ratio))
    left = top = 0
    if params.letterbox == "center":
        # As the letterbox of Ultralytics' YOLO does it: half a pixel goes to the right and to the bottom.
        left, top = round((columns - across) / 2 - 0.1), round((rows - down) / 2 - 0.1)
    return Placement(width, height, across, down, left, top)


def placements(images: NDArray[Any], params: ImageParams) -> list[Placement]:
    """Return where each of some encoded images was put; reads only the head of each, and all can be decoded."""
    from PIL import Image

    placed = []
    for data in images.tolist():
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            placed.append(placement(opened.width, opened.height, params))
    return placed


def _image(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: ImageParams, folder: Path
) -> list[NDArray[Any]]:
    """Return one image field as ``[N, C, H, W]``, or ``[N, H, W, C]`` as ``layout`` says, in ``datatype``.

    The image is decoded in ``mode``, placed in ``size`` and scaled to 0..``scale``; black and
    white are swapped if ``invert``; the result is ``(x - mean) / std``.

    Raises:
        PenstockError: 422 ``invalid-input`` if an image cannot be decoded or is too large.
    """
    field = manifest.client_inputs[0]
    height, width = params.size
    batch = np.empty((len(inputs[field.name]), len(params.mode), height, width), dtype=np.float32)
    for i, data in enumerate(inputs[field.name].tolist()):
        batch[i] = _decode(field.name, data, params)
    batch /= 255.0 / params.scale
    if params.invert:
        batch = params.scale - batch
    mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (params.mean, params.std))
    batch = ((batch - mean) / std).astype(NUMPY_DTYPES[params.datatype], copy=False)
    return [batch if params.layout == "CHW" else np.ascontiguousarray(batch.transpose(0, 2, 3, 1))]


def eight_bits(image: Any) -> Any:
    """Return a Pillow image of 16 bits of grey, as medical ones are, with 8; of others, itself.

    Pillow's ``convert`` would make all that is above 255 white.
    """
    from PIL import Image

    if image.mode not in ("I", "I;16", "I;16B"):
        return image
    return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))


def _tensors(manifest: Manifest, params: ImageParams) -> list[ModelTensor]:
    field = only_field(manifest, FieldKind.IMAGE)
    channels = (len(params.mode),)
    shape = (*channels, *params.size) if params.layout == "CHW" else (*params.size, *channels)
    return [ModelTensor(field.source or field.name, params.datatype, shape)]


def _decode(field: str, data: bytes, params: ImageParams) -> NDArray[np.float32]:
    """Return one image on a white background as ``float32 [C, H, W]``, 0 to 255."""
    # Imported here because only the services that run image models depend on Pillow; this package does not.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            # A few kilobytes can unpack to gigapixels; the header has the size before the pixels are decoded.
            placed = placement(opened.width, opened.height, params)
            if max(opened.width * opened.height, placed.across * placed.down) > MAX_PIXELS:
                raise PenstockError(
                    422,
                    "invalid-input",
                    f"{field}: the image has more than {MAX_PIXELS // 1_000_000} million pixels, or is too narrow and "
                    "would have once it is resized; send a smaller one.",
                )
            decoded = eight_bits(opened).convert("RGBA")
        background = Image.new("RGBA", decoded.size, (255, 255, 255, 255))
        pixels = Image.alpha_composite(background, decoded).convert("L" if params.mode == "L" else "RGB")
        resized = _placed(pixels, placed, params)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise PenstockError(
            422, "invalid-input", f"{field}: the image cannot be decoded; send a whole PNG, JPEG or WebP file."
        ) from None
    height, width = params.size
    array = np.asarray(resized, dtype=np.float32).reshape(height, width, len(params.mode)).transpose(2, 0, 1)
    return array[::-1] if params.mode == "BGR" else array


def _placed(pixels: Any, placed: Placement, params: ImageParams) -> Any:
    """Return a Pillow image of ``size``."""
    from PIL import Image

    height, width = params.size
    resized = pixels.resize((placed.across, placed.down), Image.Resampling[params.resize.name])
    if resized.size == (width, height):
        return resized
    canvas = Image.new(pixels.mode, (width, height), (params.fill,) * len(params.mode))
    canvas.paste(resized, (placed.left, placed.top))
    return canvas


IMAGE = Step(ImageParams, _tensors, _image)
