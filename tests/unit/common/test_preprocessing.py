"""The pre-processing steps: text to bytes, images to pixels, columns to numbers and indices."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.preprocessing.steps import model_tensors, preprocess


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


def test_a_text_is_normalised_before_it_becomes_bytes() -> None:
    """Composed, and in small letters if it is all capitals; what is not UTF-8 stays as it is."""
    m = manifest(TEXT, "utf8-bytes", normalize="NFC", lower_capitals=True)
    texts = column("o\u0308".encode(), "O\u0308L".encode(), b"Aa", b"\xffAA")
    (array,) = preprocess(m, {"text": texts})
    assert [bytes(row).rstrip(b"\0") for row in array] == ["ö".encode(), "öl".encode(), b"Aa", b"\xffAA"]
    (plain,) = preprocess(manifest(TEXT, "utf8-bytes"), {"text": column(b"AA")})
    assert bytes(plain[0]).startswith(b"AA")


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


def test_grey_of_sixteen_bits_keeps_its_shades() -> None:
    """Black, a third, and white, and not white alone."""
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 21845, 65535]], np.uint16)).save(buffer, "PNG")
    m = manifest(IMAGE, "image", mode="L", size=[1, 3], scale=255)
    (array,) = preprocess(m, {"image": column(buffer.getvalue())})
    assert array.ravel().tolist() == [0, 85, 255]


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


def halves(width: int, height: int) -> bytes:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (width, height), (255, 0, 0))
    picture.paste((0, 0, 255), (width // 2, 0, width, height))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_channels_come_in_the_order_that_the_file_wants() -> None:
    """BGR for models from OpenCV; last for models from TensorFlow. The tensors are declared so."""
    image = {"image": column(halves(2, 1))}
    (rgb,) = preprocess(manifest(IMAGE, "image", size=[1, 2]), image)
    (bgr,) = preprocess(manifest(IMAGE, "image", size=[1, 2], mode="BGR"), image)
    assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]
    assert bgr[0, :, 0, 0].tolist() == [0, 0, 1]
    last = manifest(IMAGE, "image", size=[1, 2], layout="HWC")
    assert preprocess(last, image)[0].tolist() == [[[[1, 0, 0], [0, 0, 1]]]]
    assert model_tensors(last)[0].shape == (1, 2, 3)


def test_the_middle_is_cut_out_as_torchvision_does() -> None:
    """The shorter side is resized with the chosen filter, then the middle is cut out."""
    m = manifest(IMAGE, "image", size=[4, 6], crop=8, resize="bilinear")
    gradient = Image.linear_gradient("L").resize((30, 20)).rotate(90).convert("RGB")
    buffer = io.BytesIO()
    gradient.save(buffer, "PNG")
    (array,) = preprocess(m, {"image": column(buffer.getvalue())})
    resized = gradient.resize((12, 8), Image.Resampling.BILINEAR).crop((3, 2, 9, 6))
    assert np.allclose(array[0], np.asarray(resized, np.float32).transpose(2, 0, 1) / 255)
    with pytest.raises(PenstockError, match="crop 5 is less"):
        preprocess(manifest(IMAGE, "image", size=[4, 6], crop=5), {"image": column()})


def test_a_letterbox_keeps_the_proportions() -> None:
    """The picture lies in the middle or the upper left corner; the rest is grey."""
    picture = {"image": column(halves(8, 2))}
    members = {"size": [5, 4], "letterbox": "center", "fill": 51}
    (middle,) = preprocess(manifest(IMAGE, "image", **members), picture)
    assert np.all(middle[0, :, [0, 1, 3, 4]] == np.float32(0.2))
    assert middle[0, :, 2].T.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    (corner,) = preprocess(manifest(IMAGE, "image", **members | {"letterbox": "corner"}), picture)
    assert corner[0, :, 0].tolist() == middle[0, :, 2].tolist() and np.all(corner[0, :, 1:] == np.float32(0.2))
    with pytest.raises(PenstockError, match="crop cuts off what letterbox keeps"):
        model_tensors(manifest(IMAGE, "image", **members, crop=5))


def test_pixels_may_stay_whole_numbers() -> None:
    """0 to 255, as detectors of TensorFlow and Caffe take them: in bytes, or as floats less the mean."""
    picture = {"image": column(halves(2, 1))}
    bytes_ = manifest(IMAGE, "image", size=[1, 2], datatype="UINT8", scale=255, layout="HWC")
    (array,) = preprocess(bytes_, picture)
    assert array.dtype == np.uint8 and array.tolist() == [[[[255, 0, 0], [0, 0, 255]]]]
    assert model_tensors(bytes_)[0].datatype == "UINT8"
    (floats,) = preprocess(manifest(IMAGE, "image", size=[1, 2], scale=255, mean=[104, 117, 123]), picture)
    assert floats[0, :, 0, 0].tolist() == [151, -117, -123]
    (half,) = preprocess(manifest(IMAGE, "image", size=[1, 2], datatype="FP16"), picture)
    assert half.dtype == np.float16
    with pytest.raises(PenstockError, match="set scale: 255 and leave out mean and std"):
        model_tensors(manifest(IMAGE, "image", size=[1, 2], datatype="UINT8"))


def test_a_picture_that_is_too_narrow_to_resize_is_refused() -> None:
    """A few bytes, of which the resize of the shorter side would make gigabytes."""
    m = manifest(IMAGE, "image", size=[4, 4], crop=1000)
    with pytest.raises(PenstockError, match="is too narrow") as refused:
        preprocess(m, {"image": column(png((100_000, 1), 0))})
    assert refused.value.code == "invalid-input"


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact with a tokenizer of a few words, which writes pairs as BERT does."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_texts_become_tokens(folder: Path) -> None:
    """Filled up to the longest, with the mask of what is text; special tokens are within max_tokens."""
    m = manifest(TEXT, "tokenizer", max_tokens=4)
    ids, mask, types = preprocess(m, {"text": column(b"good", b"bad film bad film")}, folder)
    assert ids.tolist() == [[2, 4, 3, 0], [2, 5, 6, 3]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert types.tolist() == [[0] * 4, [0] * 4]
    (ids, *_) = preprocess(manifest(TEXT, "tokenizer", multiple=8, pad_id=1), {"text": column(b"good")}, folder)
    assert ids.tolist() == [[2, 4, 3, 1, 1, 1, 1, 1]]


def test_a_pair_of_texts_is_one_row(folder: Path) -> None:
    """The types tell which text a token is of."""
    pair = [Field("a", FieldKind.TEXT, "BYTES"), Field("b", FieldKind.TEXT, "BYTES")]
    ids, _, types = preprocess(manifest(pair, "tokenizer"), {"a": column(b"good"), "b": column(b"film")}, folder)
    assert ids.tolist() == [[2, 4, 3, 6, 3]]
    assert types.tolist() == [[0, 0, 0, 1, 1]]


def test_a_text_that_is_not_utf8_is_the_clients_fault(folder: Path) -> None:
    """422 names the field."""
    with pytest.raises(PenstockError, match="text: a text is not UTF-8") as refused:
        preprocess(manifest(TEXT, "tokenizer"), {"text": column(b"\xff")}, folder)
    assert (refused.value.status, refused.value.code) == (422, "invalid-input")


def test_the_file_need_take_only_the_tokens() -> None:
    """The mask and the types are there for those that do, in any datatype."""
    ids, mask, types = model_tensors(manifest(TEXT, "tokenizer", ids="tokens"))
    assert (ids.name, ids.optional, ids.any_datatype) == ("tokens", False, True)
    assert mask.optional and types.optional
