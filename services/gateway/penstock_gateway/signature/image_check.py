"""The checker of image fields."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_common.errors import PenstockError
from penstock_common.image_header import MAX_SEGMENTS, ImageHeader, read_header
from penstock_common.manifest import Field
from penstock_gateway.signature.field_check import invalid
from penstock_gateway.signature.file_check import FileCheck

#: Of one image; the pods have the same bound.
MAX_IMAGE_PIXELS = 50_000_000
#: Of all the images of a field in one request, those of a JPEG once for each scan: about 2 CPU seconds.
MAX_REQUEST_PIXELS = 200_000_000
#: Of one JPEG; encoders write about 10 for a progressive one.
MAX_SCANS = 64
#: How a PNG, JPEG or WebP starts in base64, and a data URL of any.
_BASE64_STARTS = (b"iVBORw0KGgo", b"/9j/", b"UklGR", b"data:image/")


class ImageCheck(FileCheck):
    """A PNG, JPEG or WebP."""

    def __init__(self, field: Field) -> None:
        super().__init__(field, "an image", _BASE64_STARTS)

    def _check_headers(self, files: Sequence[bytes]) -> None:
        """Refuse other formats, and images whose decoding would take a pod too long.

        A decoder passes over all the pixels of an image once for each of its scans.
        """
        headers = [self._header(value) for value in files]
        for header in headers:
            if header.pixels > MAX_IMAGE_PIXELS:
                raise self._too_large(
                    f"has {header.pixels:,} pixels, {MAX_IMAGE_PIXELS:,} are allowed; send it smaller"
                )
            if header.scans > MAX_SCANS:
                raise self._too_large(
                    f"has {header.scans:,} scans, {MAX_SCANS} are allowed; save it as a baseline JPEG"
                )
        work = sum(header.pixels * header.scans for header in headers)
        if work > MAX_REQUEST_PIXELS:
            raise self._too_large(
                f"and those of the request's other rows have {work:,} pixels, those of a JPEG counted once for each scan; "
                f"{MAX_REQUEST_PIXELS:,} are allowed; send fewer rows or smaller images"
            )

    def _header(self, value: bytes) -> ImageHeader:
        try:
            header = read_header(value)
        except ValueError as err:
            what = f"has more than {MAX_SEGMENTS} {err} before its pixels; save it without its metadata"
            raise self._too_large(what) from None
        if header is None:
            raise invalid(
                self.name,
                f"is not an image that this service reads (it starts with {value[:8]!r}); send a PNG, JPEG or WebP",
                415,
                "unsupported-image",
            )
        return header

    def _too_large(self, what: str) -> PenstockError:
        return invalid(self.name, f"the image {what}", 413, "image-too-large")
