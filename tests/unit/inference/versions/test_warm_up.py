"""The rows that warm a model up are rows that it can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_inference.engine.input_checks import check_inputs
from penstock_inference.engine.model import LoadedModel
from penstock_inference.versions.warm_up import example_rows, warm_up
from tests.unit.inference.fake_runner import FakeRunner


def manifest(*fields: Field, **members: Any) -> Manifest:
    return Manifest(Format.ONNX, "m.onnx", Task.REGRESSION, list(fields), [Output("y", "FP32")], **members)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field("x", FieldKind.TEXT, "BYTES"), b"warm up"),
        (Field("x", FieldKind.CATEGORY, "BYTES", categories=["red", "blue"]), b"red"),
        (Field("x", FieldKind.NUMBER, "FP32", minimum=7), 7.0),
        (Field("x", FieldKind.INTEGER, "INT64"), 0),
        (Field("x", FieldKind.BOOLEAN, "BOOL"), False),
    ],
)
def test_a_field_without_an_example_gets_a_value_that_fits(field: Field, value: object) -> None:
    """Of its type, among its categories, not below its minimum; as many rows as are asked for."""
    m = manifest(field)
    rows = example_rows(m, 3)
    check_inputs(m, rows)
    assert rows["x"].tolist() == [value] * 3


def test_the_first_example_is_used(regression: Manifest) -> None:
    """Text as UTF-8, tensors in their shape."""
    m = manifest(
        Field("t", FieldKind.TEXT, "BYTES"),
        Field("v", FieldKind.TENSOR, "FP32", shape=[2]),
        examples=[{"t": "grüß", "v": [1, 2]}, {"t": "other", "v": [3, 4]}],
    )
    rows = example_rows(m, 2)
    assert rows["t"].tolist() == ["grüß".encode()] * 2
    assert rows["v"].tolist() == [[1, 2]] * 2


class Recorder(FakeRunner):
    """Keeps the shape of each batch."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.shapes.append(batch[0].shape)
        return [np.zeros(len(batch[0]), np.float32)]


def test_an_image_model_without_an_example_runs_small_and_large() -> None:
    """One row and a full batch of images that can be decoded reach the model."""
    m = manifest(
        Field("image", FieldKind.IMAGE, "BYTES"),
        preprocess=Preprocess("image", {"size": [8, 8], "mode": "L"}),
        batching=Batching(max_batch_size=5),
    )
    recorder = Recorder()
    warm_up(LoadedModel(m, recorder))
    assert sorted(recorder.shapes) == [(1, 1, 8, 8), (5, 1, 8, 8)]
