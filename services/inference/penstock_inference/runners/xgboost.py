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
        learner = json.loads(booster.save_config())["learner"]
        objective = learner["objective"]["name"]
        self._binary = objective == BINARY and targets_of(learner) == 1
        says = PROBABILITIES if self._binary or objective == SEVERAL else PREDICTION
        self._outputs = list(wanted_outputs(manifest, [says]))
        self._rounds = (0, _rounds(booster))
        self._table = Table(booster.feature_names, booster.num_features())
        self.inputs = self._table.inputs

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        rows = self._table.matrix(inputs, np.float32)
        answer = np.asarray(self._booster.inplace_predict(rows, iteration_range=self._rounds, validate_features=False))
        if self._binary:
            answer = two_columns(answer)
        return dict.fromkeys(self._outputs, answer)

    def changed_state(self) -> list[str]:
        return []


def targets_of(learner: dict[str, Any]) -> int:
    """Return how many values a model predicts for a row, by its configuration; classes count as one."""
    return int(learner["learner_model_param"].get("num_target", 1))


def _rounds(booster: xgboost.Booster) -> int:
    """Return with how many rounds of trees the model predicts; 0 for all.

    An estimator with the interface of scikit-learn that was stopped early predicts with those up to the best; its file has
    the later ones too. ``xgboost.train`` leaves the choice to the caller, and a Booster takes all.
    """
    best = booster.attr("best_iteration")
    return 0 if best is None or booster.attr("scikit_learn") is None else int(best) + 1


def load(path: Path, manifest: Manifest, threads: int) -> XgBoostRunner:
    """Load the ``.json`` or ``.ubj`` file that ``Booster.save_model`` writes."""
    booster = xgboost.Booster()
    booster.load_model(path)
    booster.set_param({"nthread": threads})
    return XgBoostRunner(booster, manifest)
