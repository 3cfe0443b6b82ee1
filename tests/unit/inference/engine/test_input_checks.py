"""What the signature of a model refuses."""

from __future__ import annotations

import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.input_checks import check_inputs

MANIFEST = Manifest(
    format=Format.ONNX,
    file="m.onnx",
    task=Task.REGRESSION,
    inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3]), Field("n", FieldKind.INTEGER, "INT64")],
    outputs=[Output("y", "FP32")],
)
X = np.zeros((2, 3), np.float32)
N = np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"x": X, "z": N}, r"\['x', 'z'\]; this model takes \['x', 'n'\]"),
        ({}, r"\['x', 'n'\]"),
        ({"x": X.astype(np.float64), "n": N}, "x: the datatype must be FP32"),
        ({"x": np.zeros((2, 4), np.float32), "n": N}, r"x: shape \[2, 4\] does not fit \[-1, 3\]"),
        ({"x": X, "n": np.array(1)}, r"n: shape \[\] does not fit \[-1\]"),
        ({"x": X, "n": N[:1]}, "n: has 1 rows, the inputs before it 2"),
        ({"x": X[:0], "n": N[:0]}, "There are no rows"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, np.ndarray], named: str) -> None:
    """422 ``invalid-input`` says which tensor, and what fits."""
    with pytest.raises(PenstockError, match=named) as caught:
        check_inputs(MANIFEST, inputs)
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def test_a_column_of_scalars_is_flattened() -> None:
    """``[rows, 1]`` fits a scalar field, as foreign clients send it; the number of rows is returned."""
    checked, rows = check_inputs(MANIFEST, {"x": X, "n": N.reshape(2, 1)})
    assert (checked["n"].shape, checked["x"].shape, rows) == ((2,), (2, 3), 2)


VARYING = [
    Field("image", FieldKind.TENSOR, "FP32", shape=["height", -1], max_elements=12),
    Field("mask", FieldKind.TENSOR, "BOOL", shape=["height"], required=False),
]


def varying(*, batch: bool = True) -> Manifest:
    return Manifest(Format.ONNX, "m.onnx", Task.TENSOR, VARYING, [Output("y", "FP32")], batch=batch)


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"image": np.zeros((1, 4, 4), np.float32)}, "16 elements, 12 are allowed"),
        ({"image": np.zeros((1, 0, 4), np.float32)}, "has no elements"),
        ({"image": np.zeros((1, 4), np.float32)}, "does not fit"),
        ({"image": np.zeros((1, 2, 2), np.float32), "mask": np.zeros((1, 3), bool)}, "'height' is 2 in 'image' and 3"),
        ({"mask": np.zeros((1, 3), bool)}, "this model takes"),
    ],
)
def test_shapes_that_vary_are_bounded_here_too(inputs: dict[str, np.ndarray], named: str) -> None:
    """A client of the pod's own gRPC has the same bounds as one of the gateway."""
    with pytest.raises(PenstockError, match=named) as caught:
        check_inputs(varying(), inputs)
    assert caught.value.status == 422


def test_without_a_batch_a_message_is_one_row() -> None:
    """Inside the pod it has a first axis of 1."""
    checked, rows = check_inputs(varying(batch=False), {"image": np.zeros((2, 3), np.float32)})
    assert (checked["image"].shape, rows) == ((1, 2, 3), 1)
