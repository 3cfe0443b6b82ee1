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
