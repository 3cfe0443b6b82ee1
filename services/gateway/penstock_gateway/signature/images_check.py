"""The checker of fields that are lists of images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_gateway.signature.field_check import FieldCheck
from penstock_gateway.signature.image_check import ImageCheck
from penstock_gateway.signature.tensor_checks import flatten


class ImagesCheck(FieldCheck):
    """Lists of PNG, JPEG or WebP files. The bounds of a request hold for all of them together.

    An error in JSON has the place of the image in its list as ``element``.
    """

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._image = ImageCheck(field)

    def json(self, value: Any) -> list[bytes]:
        images, _ = flatten(self.field, value)
        files = []
        for i, image in enumerate(images):
            try:
                files.append(self._image.json(image))
            except PenstockError as err:
                err.extra["element"] = i
                raise
        return files

    def array(self, array: NDArray[Any]) -> bytes:
        return self._image.array(array)

    def pack(self, elements: Sequence[list[bytes]]) -> bytes:
        return self._image.pack(list(chain.from_iterable(elements)))

    def row_shape(self, element: list[bytes]) -> tuple[int, ...]:
        return (len(element),)
