"""The rows that a model is tried with are rows that it can take, and as different as its fields allow."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.manifest_values import check_value
from penstock_common.preprocessing.audio_decoding import decode_audio
from penstock_common.wav_file import wav_file
from penstock_inference.engine.input_checks import check_inputs
from penstock_inference.versions.trial_rows import other_examples, trial_rows


def manifest(*fields: Field, **members: Any) -> Manifest:
    return Manifest(Format.ONNX, "m.onnx", Task.REGRESSION, list(fields), [Output("y", "FP32")], **members)


def rows(field: Field, *examples: Any) -> list[Any]:
    m = manifest(field, examples=[{field.name: example} for example in examples])
    batch = trial_rows(m, 3)
    check_inputs(m, batch)
    values: list[Any] = batch[field.name].tolist()
    return values


@pytest.mark.parametrize(
    ("field", "first"),
    [
        (Field("x", FieldKind.TEXT, "BYTES"), b"warm up the model"),
        (Field("x", FieldKind.CATEGORY, "BYTES", categories=["red", "blue", "green"]), b"red"),
        (Field("x", FieldKind.NUMBER, "FP32", minimum=7), 7.0),
        (Field("x", FieldKind.INTEGER, "INT64", minimum=-3, maximum=9), 0),
        (Field("x", FieldKind.TENSOR, "FP32", shape=[2]), [0.0, 0.0]),
        (Field("x", FieldKind.TENSOR, "UINT8", shape=[4], minimum=1, maximum=9), [1, 1, 1, 1]),
    ],
)
def test_a_field_without_an_example_gets_different_values_that_fit(field: Field, first: object) -> None:
    """Of its type, among its categories, within its bounds."""
    values = rows(field)
    assert values[0] == first
    assert len({str(value) for value in values}) == 3


def test_examples_come_first() -> None:
    """Text as UTF-8, tensors in their shape; variations of the first follow."""
    assert rows(Field("t", FieldKind.TEXT, "BYTES"), "grüß dich", "other") == [
        "grüß dich".encode(),
        b"other",
        "grüß dich grüß dich".encode(),
    ]
    values = rows(Field("v", FieldKind.TENSOR, "FP32", shape=[2]), [1, 2], [3, 4])
    assert values[:2] == [[1, 2], [3, 4]]
    assert values[2] not in values[:2]


def test_a_whole_number_without_bounds_only_becomes_smaller() -> None:
    """It may be an index into a table of unknown size."""
    assert rows(Field("i", FieldKind.INTEGER, "INT64"), 5) == [5, 0, 1]
    values = rows(Field("v", FieldKind.TENSOR, "INT64", shape=[4]), [7, 1, 3, 0])
    assert [sorted(value) for value in values] == [[0, 1, 3, 7]] * 3


def test_a_field_that_an_example_leaves_out_has_its_default() -> None:
    """As a client that leaves it out gets it."""
    fields = (Field("a", FieldKind.NUMBER, "FP32"), Field("b", FieldKind.NUMBER, "FP32", required=False, default=4))
    assert trial_rows(manifest(*fields, examples=[{"a": 1}]), 1)["b"].tolist() == [4]


@pytest.mark.parametrize("examples", [0, 1])
def test_images_differ_and_can_be_decoded(examples: int) -> None:
    """With an example and without."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4), 200).save(buffer, "PNG")
    example = base64.b64encode(buffer.getvalue()).decode()
    values = rows(Field("x", FieldKind.IMAGE, "BYTES"), *[example] * examples)
    pixels = [np.asarray(Image.open(io.BytesIO(value)).convert("L")).mean() for value in values]
    assert len(set(pixels)) == 3
    several = rows(Field("x", FieldKind.IMAGE, "BYTES", shape=[-1], max_elements=2), *[[example] * 2] * examples)
    assert several == [[value, value] for value in values]


@pytest.mark.parametrize("examples", [0, 1])
def test_sounds_differ_also_in_length_and_can_be_decoded(examples: int) -> None:
    """With an example and without; none is longer than the field allows."""
    example = base64.b64encode(wav_file(np.sin(np.arange(22050) / 9), 22050)).decode()
    values = rows(Field("x", FieldKind.AUDIO, "BYTES", max_seconds=1.4), *[example] * examples)
    sounds = [decode_audio(value, 16000, 1.4) for value in values]
    assert [len(sound) for sound in sounds] == [16000, 20000, 22400]
    assert len({float(np.abs(sound).max()) for sound in sounds}) == 3


BOUND = st.none() | st.integers(-100, 100)


@given(BOUND, BOUND, st.sampled_from([FieldKind.NUMBER, FieldKind.INTEGER]), st.data())
def test_variations_stay_within_the_bounds(
    low: int | None, high: int | None, kind: FieldKind, data: st.DataObject
) -> None:
    """Whatever the bounds and the example are."""
    if low is not None and high is not None and low > high:
        low, high = high, low
    field = Field("x", kind, "FP64" if kind is FieldKind.NUMBER else "INT64", minimum=low, maximum=high)
    example = data.draw(st.none() | st.integers(-100 if low is None else low, 100 if high is None else high))
    for value in rows(field, *([] if example is None else [example])):
        check_value(field, value, "x")


IMAGE = Field("image", FieldKind.TENSOR, "FP32", shape=["height", "width"])
MASK = Field("mask", FieldKind.TENSOR, "BOOL", shape=["height", "width"])
SCALE = Field("scale", FieldKind.NUMBER, "FP32", required=False)


@pytest.mark.parametrize(("bound", "size"), [(None, 32), (100, 8), (3, 1)])
def test_what_varies_has_a_size_within_the_bounds(bound: int | None, size: int) -> None:
    """Without an example; a name has the same size everywhere, and an input that may be absent is."""
    small = Field("small", FieldKind.TENSOR, "FP32", shape=["height", "width"], max_elements=bound)
    batch = trial_rows(manifest(small, MASK, SCALE), 3)
    assert {name: array.shape for name, array in batch.items()} == {"small": (3, size, size), "mask": (3, size, size)}


def test_examples_of_other_shapes_are_tried_alone() -> None:
    """Those of the first one's shape are rows of one batch."""
    examples = [{"image": [[1, 2]]}, {"image": [[5]]}, {"image": [[3, 4]]}, {"image": [[6, 7]], "scale": 2}]
    m = manifest(IMAGE, SCALE, examples=examples)
    batch = trial_rows(m, 3)
    assert batch["image"].shape == (3, 1, 2)
    assert batch["image"][:2].tolist() == [[[1, 2]], [[3, 4]]]
    assert [{n: a.tolist() for n, a in other.items()} for other in other_examples(m)] == [
        {"image": [[[5]]]},
        {"image": [[[6, 7]]], "scale": [2]},
    ]
