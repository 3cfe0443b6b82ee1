"""Models of LightGBM, in its own text format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.runner import FileAnswer
from penstock_inference.runners.tables import PREDICTION, PROBABILITIES, Table, two_columns, wanted_outputs

#: Objectives of classifiers: those of two classes, and the beginning of the names of those of several.
BINARY, SEVERAL = ("binary", "cross_entropy"), "multiclass"


class LightGbmRunner:
    """A booster: probabilities if it is a classifier's, and else a prediction, both FP64."""

    def __init__(self, booster: lightgbm.Booster, manifest: Manifest, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        objective = objective_of(booster.dump_model(num_iteration=1))
        self._binary = objective in BINARY
        says = PROBABILITIES if self._binary or objective.startswith(SEVERAL) else PREDICTION
        self._outputs = list(wanted_outputs(manifest, [says]))
        self._table = Table(column_names(booster), booster.num_feature())
        self.inputs = self._table.inputs
        self._has_categories = bool(booster.pandas_categorical)

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        answer = np.asarray(self._booster.predict(self._rows(inputs), num_threads=self._threads))
        if self._binary:
            answer = two_columns(answer)
        return dict.fromkeys(self._outputs, answer)

    def changed_state(self) -> list[str]:
        return []

    def _rows(self, inputs: Sequence[NDArray[Any] | None]) -> Any:
        if not self._has_categories:
            return self._table.matrix(inputs, np.float64)
        frame = self._table.frame(inputs)
        # The booster has the categories that it was fitted with, and gives each its number.
        return frame.astype({name: "category" for name in frame.columns if frame[name].dtype.kind == "O"})


def load(path: Path, manifest: Manifest, threads: int) -> LightGbmRunner:
    """Load the file that ``Booster.save_model`` writes."""
    return LightGbmRunner(lightgbm.Booster(model_file=str(path)), manifest, threads)


def objective_of(model: dict[str, Any]) -> str:
    """Return the objective of a dumped model, without its parameters."""
    return str(model.get("objective", "")).split(" ")[0]


def column_names(booster: lightgbm.Booster) -> list[str] | None:
    """Return the names of the columns; None if the booster was fitted on a matrix, for which it makes some up."""
    names = booster.feature_name()
    return None if names == [f"Column_{i}" for i in range(len(names))] else names
