"""A runner's outputs are checked against the manifest before anyone gets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from tests.unit.inference.fake_runner import FakeRunner


class Constant(FakeRunner):
    """Gives the same outputs whatever it gets."""

    def __init__(self, *outputs: NDArray[Any]) -> None:
        self._outputs = list(outputs)

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return self._outputs


def classifier() -> Manifest:
    """One number in, the probabilities of two labels out."""
    return Manifest(
        format=Format.ONNX,
        file="m.onnx",
        task=Task.CLASSIFICATION,
        inputs=[Field("x", FieldKind.NUMBER, "FP32")],
        outputs=[Output("p", "FP32", [2])],
        labels=["a", "b"],
    )


@pytest.mark.parametrize(
    ("output", "named"),
    [
        (np.zeros(3, np.float32), r"'y' as FP32 \[3\] to 2 rows; its manifest declares FP32 \[-1\]"),
        (np.float32(0), r"'y' as FP32 \[\] to 2 rows"),
        (np.zeros((2, 2), np.float32), r"FP32 \[2, 2\]"),
        (np.zeros(2, np.float64), r"FP64 \[2\] to 2 rows; its manifest declares FP32"),
        (np.zeros(2, np.complex64), "complex64"),
        (np.array([b"a", b"b"], dtype=object), "BYTES"),
    ],
)
def test_an_output_that_does_not_fit_is_the_models_fault(
    regression: Manifest, output: NDArray[Any], named: str
) -> None:
    """500 ``bad-model-answer`` says what the model gave and what was declared."""
    model = LoadedModel(regression, Constant(output))
    with pytest.raises(PenstockError, match=named) as caught:
        model.run({"x": np.zeros(2, np.float32)})
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")


@pytest.mark.parametrize("outputs", [[], [np.zeros(2, np.float32)] * 2])
def test_another_number_of_outputs_is_a_mismatch(regression: Manifest, outputs: list[NDArray[Any]]) -> None:
    """Without names, position tells outputs apart only if there are as many as the manifest names."""
    with pytest.raises(ModelMismatchError, match=rf"names 1 outputs \('y'\); the file gives {len(outputs)}"):
        LoadedModel(regression, Constant(*outputs)).run({"x": np.zeros(2, np.float32)})


def test_a_column_fits_a_scalar_output(regression: Manifest) -> None:
    """``[rows, 1]``, as many regressors give it, becomes ``[rows]``."""
    (output,) = LoadedModel(regression, Constant(np.ones((2, 1), np.float32))).run({"x": np.zeros(2, np.float32)})
    assert output.shape == (2,)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_probability_that_is_not_finite_is_the_models_fault(value: float) -> None:
    """500 ``bad-model-answer``, before anyone reads it as a class."""
    model = LoadedModel(classifier(), Constant(np.array([[0.5, 0.5], [value, 0]], np.float32)))
    with pytest.raises(PenstockError, match="'p' with a probability that is not a finite") as caught:
        model.run({"x": np.zeros(2, np.float32)})
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")
