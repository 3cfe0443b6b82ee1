"""Models of XGBoost, in its own JSON or UBJSON format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.runner import FileAnswer
from penstock_inference.runners.tables import PREDICTION, PROBABILITIES, Table, two_columns, wanted_outputs

#: Objectives of classifiers that give probabilities: that of two classes, and that of several.
BINARY, SEVERAL = "binary:logistic", "multi:softprob"


class XgBoostRunner:
    """A booster: probabilities if it is a classifier's, and else a prediction, both FP32.

    A categorical column takes the numbers of its categories: XGBoost 3.2 does not find a text's number by itself.
    """

    def __init__(self, booster: xgboost.Booster, manifest: Manifest) -> None:
        self._booster = booster
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
        self._binary = objective == BINARY
        says = PROBABILITIES if objective in (BINARY, SEVERAL) else PREDICTION
        self._outputs = list(wanted_outputs(manifest, [says]))
        self._table = Table(booster.feature_names, booster.num_features())
        self.inputs = self._table.inputs

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        rows = self._table.matrix(inputs, np.float32)
        answer = np.asarray(self._booster.inplace_predict(rows, validate_features=False))
        if self._binary:
            answer = two_columns(answer)
        return dict.fromkeys(self._outputs, answer)

    def changed_state(self) -> list[str]:
        return []


def load(path: Path, manifest: Manifest, threads: int) -> XgBoostRunner:
    """Load the ``.json`` or ``.ubj`` file that ``Booster.save_model`` writes."""
    booster = xgboost.Booster()
    booster.load_model(path)
    booster.set_param({"nthread": threads})
    return XgBoostRunner(booster, manifest)
