"""The checker of image fields."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_common.errors import PenstockError
from penstock_common.image_header import MAX_SEGMENTS, ImageHeader, read_header
from penstock_common.manifest import Field
from penstock_gateway.edge.bounds import over_bound
from penstock_gateway.signature.field_check import in_field, invalid
from penstock_gateway.signature.file_check import FileCheck
from penstock_gateway.signature.request_bounds import RequestBounds

#: How a PNG, JPEG or WebP starts in base64, and a data URL of any.
_BASE64_STARTS = (b"iVBORw0KGgo", b"/9j/", b"UklGR", b"data:image/")


class ImageCheck(FileCheck):
    """A PNG, JPEG or WebP."""

    def __init__(self, field: Field, bounds: RequestBounds) -> None:
        super().__init__(field, "an image", _BASE64_STARTS)
        self._bounds = bounds

    def _check_headers(self, files: Sequence[bytes]) -> None:
        """Refuse other formats, and images whose decoding would take a pod too long.

        A decoder passes over all the pixels of an image once for each of its scans.
        """
        headers = [self._header(value) for value in files]
        for header in headers:
            most = self._bounds.max_image_pixels
            if header.pixels > most:
                what = f"has {header.pixels:,} pixels, {most:,} are allowed; send it smaller"
                raise self._over(what, "max_image_pixels", most)
            most = self._bounds.max_image_scans
            if header.scans > most:
                what = f"has {header.scans:,} scans, {most} are allowed; save it as a baseline JPEG"
                raise self._over(what, "max_image_scans", most)
        work = sum(header.pixels * header.scans for header in headers)
        most = self._bounds.max_request_pixels
        if work > most:
            what = (
                f"and those of the request's other rows have {work:,} pixels, those of a JPEG counted once for each scan; "
                f"{most:,} are allowed; send fewer rows or smaller images"
            )
            raise self._over(what, "max_request_pixels", most)

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

    def _over(self, what: str, bound: str, limit: int) -> PenstockError:
        return in_field(self.name, over_bound(413, "image-too-large", bound, limit, f"the image {what}."))

    def _too_large(self, what: str) -> PenstockError:
        return invalid(self.name, f"the image {what}", 413, "image-too-large")
