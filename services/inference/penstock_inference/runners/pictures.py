"""What the models of pictures share: pictures decoded as clients send them."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.preprocessing.image import MAX_PIXELS, eight_bits
from penstock_inference.runners.runner import ModelMismatchError


def picture_field(manifest: Manifest) -> Field:
    """Return the manifest's only field, a picture that the model decodes itself.

    Raises:
        ModelMismatchError: it has others, or a ``preprocess`` step.
    """
    field = manifest.inputs[0]
    if len(manifest.inputs) > 1 or field.kind is not FieldKind.IMAGE or field.shape or manifest.preprocess is not None:
        raise ModelMismatchError("The model takes one input of kind image, without a shape or a preprocess step.")
    return field


def decode_picture(field: str, data: bytes, *, on_white: bool = False) -> Image.Image:
    """Return a PNG, JPEG or WebP file in RGB, turned as its EXIF data says.

    Args:
        on_white: whether what is transparent becomes white; else it has the colour that the file hides there.

    Raises:
        PenstockError: 422 ``invalid-input`` if it cannot be decoded or is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            # The header has the size before the pixels are decoded.
            if opened.width * opened.height > MAX_PIXELS:
                raise _invalid(field, f"has more than {MAX_PIXELS // 1_000_000} million pixels; send a smaller one")
            turned: Image.Image = eight_bits(ImageOps.exif_transpose(opened))
            if on_white and turned.has_transparency_data:
                visible = turned.convert("RGBA")
                turned = Image.alpha_composite(Image.new("RGBA", visible.size, "white"), visible)
            return turned.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise _invalid(field, "cannot be decoded; send a whole PNG, JPEG or WebP file") from None


def _invalid(field: str, what: str) -> PenstockError:
    return PenstockError(422, "invalid-input", f"{field}: the image {what}.")
