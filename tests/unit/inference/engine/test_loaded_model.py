"""A runner's outputs are checked against the manifest before anyone gets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.engine.model import LoadedModel


class Constant:
    """Gives the same outputs whatever it gets."""

    def __init__(self, *outputs: NDArray[Any]) -> None:
        self._outputs = list(outputs)

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return self._outputs


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        ([], "gave 0 outputs, its manifest names 1"),
        ([np.zeros(2), np.zeros(2)], "gave 2 outputs"),
        ([np.zeros(3)], "'y' does not have one row for each input row"),
        ([np.float32(0)], "'y' does not have one row"),
    ],
)
def test_outputs_that_do_not_fit_are_the_models_fault(
    regression: Manifest, outputs: list[NDArray[Any]], named: str
) -> None:
    """500 ``bad-model-answer`` says what is wrong with them."""
    model = LoadedModel(regression, Constant(*outputs))
    with pytest.raises(PenstockError, match=named) as caught:
        model.run({"x": np.zeros(2, np.float32)})
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")
