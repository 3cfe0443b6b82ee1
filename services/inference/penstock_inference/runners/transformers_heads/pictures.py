"""Decodes the pictures that clients send, for the image processors of ``transformers``."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from penstock_common.errors import PenstockError
from penstock_common.preprocessing.image import MAX_PIXELS


def decode_picture(field: str, data: bytes) -> Image.Image:
    """Return a PNG, JPEG or WebP file in RGB, turned as its EXIF data says.

    Raises:
        PenstockError: 422 ``invalid-input`` if it cannot be decoded or is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            # The header has the size before the pixels are decoded.
            if opened.width * opened.height > MAX_PIXELS:
                raise _invalid(field, f"has more than {MAX_PIXELS // 1_000_000} million pixels; send a smaller one")
            turned: Image.Image = ImageOps.exif_transpose(opened)
            return turned.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise _invalid(field, "cannot be decoded; send a whole PNG, JPEG or WebP file") from None


def _invalid(field: str, what: str) -> PenstockError:
    return PenstockError(422, "invalid-input", f"{field}: the image {what}.")
