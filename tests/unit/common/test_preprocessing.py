"""The pre-processing steps: text to bytes, images to pixels, columns to numbers and indices."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.preprocessing.steps import preprocess


def manifest(fields: list[Field], name: str, **params: object) -> Manifest:
    return Manifest(
        Format.ONNX, "m.onnx", Task.TENSOR, fields, [Output("y", "FP32")], preprocess=Preprocess(name, dict(params))
    )


def column(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


TEXT = [Field("text", FieldKind.TEXT, "BYTES")]
IMAGE = [Field("image", FieldKind.IMAGE, "BYTES")]


def test_bytes_are_padded_to_a_multiple_and_cut() -> None:
    """The width is the length of the longest row, rounded up, and at most max_bytes."""
    (array,) = preprocess(manifest(TEXT, "utf8-bytes", max_bytes=32, multiple=16), {"text": column(b"abc", b"x" * 40)})
    assert array.shape == (2, 32)
    assert bytes(array[0]) == b"abc" + bytes(29)
    (empty,) = preprocess(manifest(TEXT, "utf8-bytes"), {"text": column(b"")})
    assert empty.shape == (1, 16)


def png(size: tuple[int, int], shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, shade).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_is_decoded_resized_and_scaled() -> None:
    """Inverted, white is 0 and black is 1, regardless of the size."""
    m = manifest(IMAGE, "image", mode="L", size=[8, 8], invert=True)
    (array,) = preprocess(m, {"image": column(png((100, 60), 255), png((8, 8), 0))})
    assert array.shape == (2, 1, 8, 8)
    assert array[0].max() == 0.0
    assert array[1].min() == 1.0


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    """As models that were trained on ImageNet want it."""
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3), (255, 0, 51)).save(buffer, "PNG")
    m = manifest(IMAGE, "image", size=[3, 3], mean=[0.5, 0.25, 0.2], std=[0.5, 0.25, 1.0])
    (array,) = preprocess(m, {"image": column(buffer.getvalue())})
    assert array.dtype == np.float32
    assert array[0].mean(axis=(1, 2)).round(6).tolist() == [1.0, -1.0, 0.0]


def test_a_broken_image_is_refused() -> None:
    """422 names the field."""
    m = manifest([Field("photo", FieldKind.IMAGE, "BYTES")], "image", size=[8, 8])
    with pytest.raises(PenstockError, match=r"^photo: ") as caught:
        preprocess(m, {"photo": column(png((8, 8), 0)[:40])})
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def test_columns_become_numbers_and_indices() -> None:
    """Numbers are in one tensor, the indices of categories in another; an unknown category is refused."""
    fields = [Field("a", FieldKind.NUMBER, "FP32"), Field("c", FieldKind.CATEGORY, "BYTES", categories=["x", "y"])]
    m = manifest(fields, "tabular")
    numbers, indices = preprocess(m, {"a": np.array([1.5, 2.5], np.float32), "c": column(b"y", b"x")})
    assert numbers.tolist() == [[1.5], [2.5]]
    assert indices.tolist() == [[1], [0]]
    with pytest.raises(PenstockError, match=r"^c: 'z' is none of x, y"):
        preprocess(m, {"a": np.array([1.0], np.float32), "c": column(b"z")})
